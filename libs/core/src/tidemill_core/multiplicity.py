"""Many comparisons at once: p-values that are corrected for their number."""

from collections.abc import Sequence


def holm(p_values: Sequence[float], *, family: int = 0) -> list[float]:
    """Return p-values adjusted for their number, in the same order.

    Holm, A simple sequentially rejective multiple test procedure (1979): those at most alpha are wrong, any of them,
    with probability alpha at most, however they depend on one another. `family` is how many there may be at some time,
    where those that are missing count as well: then it holds at all times together for p-values that do.
    """
    number = max(family, len(p_values))
    adjusted, greatest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        greatest = max(greatest, min(1.0, (number - rank) * p_values[place]))
        adjusted[place] = greatest
    return adjusted
