"""Cohen's and Fleiss' kappa, as NLTK computes them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean

from tidemill_feedback.reviews.domain.agreement import Rating
from tidemill_feedback.reviews.domain.labels import Value

_MIN_ITEMS = 2
MAX_PAIRS = 20_000
"""Of two values of an item: NLTK compares each, at some 10 microseconds."""


class NltkKappa:
    """Implements `ports.Kappa`. NLTK is imported when it is first used: that takes a second."""

    def cohen(self, ratings: Sequence[Rating]) -> float | None:
        """See `Kappa.cohen`."""
        pairs = defaultdict[tuple[str, str], list[Rating]](list)
        left = MAX_PAIRS
        for item, values in _by_item(ratings).items():
            for one, other in combinations(sorted(values), 2):
                left -= 1
                if left >= 0:
                    pairs[one, other] += [Rating(item, name, values[name]) for name in (one, other)]
        found = [_kappa(each, "kappa") for each in pairs.values() if len(each) >= 2 * _MIN_ITEMS]
        return _mean(each for each in found if each is not None)

    def fleiss(self, ratings: Sequence[Rating], *, raters: int) -> float | None:
        """See `Kappa.fleiss`: reviewers are interchangeable, so the values of an item are those of its 1st, 2nd ...

        Fleiss (1971) is the pi of several coders in the notation of Artstein and Poesio (2008).
        """
        whole = {item: values for item, values in _by_item(ratings).items() if len(values) == raters}
        fitting = list(whole.items())[: MAX_PAIRS // max(1, raters * (raters - 1) // 2)]
        if raters < _MIN_ITEMS or len(fitting) < _MIN_ITEMS:
            return None
        numbered = [
            Rating(item, str(number), value)
            for item, values in fitting
            for number, (_, value) in enumerate(sorted(values.items()))
        ]
        return _kappa(numbered, "pi")


def _by_item(ratings: Iterable[Rating]) -> Mapping[str, Mapping[str, Value]]:
    found = defaultdict[str, dict[str, Value]](dict)
    for each in ratings:
        found[each.item][each.reviewer] = each.value
    return found


def _kappa(ratings: Sequence[Rating], coefficient: str) -> float | None:
    from nltk.metrics.agreement import AnnotationTask  # noqa: PLC0415 - see the class

    if len({each.value for each in ratings}) < 2:  # noqa: PLR2004 - all the same: chance alone agrees, too
        return None
    task = AnnotationTask([(each.reviewer, each.item, str(each.value)) for each in ratings])
    value = float(getattr(task, coefficient)())
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
