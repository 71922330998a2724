"""Confidence intervals of what was counted."""

import math
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.975)
"""How many standard errors an interval of 95 % reaches to each side."""


def share_interval(share: float, number: float, *, z: float = Z_95) -> tuple[float, float]:
    """Return the bounds, within 0 and 1, of the interval of a share of so many observations: by default of 95 %.

    The number is over 0; of weighted observations it is their effective number. By Wilson, Probable Inference, the
    Law of Succession, and Statistical Inference, 1927.
    """
    square = z**2 / number
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(max(0.0, share * (1 - share)) * square + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
