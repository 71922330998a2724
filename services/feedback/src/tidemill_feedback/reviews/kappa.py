"""Cohen's and Fleiss' kappa, as NLTK computes them."""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations, islice

from tidemill_feedback.reviews.domain.agreement import Units, mean_of
from tidemill_feedback.reviews.domain.labels import Value

_MIN_ITEMS = 2
MAX_PAIRS = 20_000
"""Of two values of an item: NLTK compares each, at some 10 microseconds."""


class NltkKappa:
    """Implements `ports.Kappa`. NLTK is imported when it is first used: that takes a second."""

    def cohen(self, units: Units) -> float | None:
        """See `Kappa.cohen`."""
        pairs = defaultdict[tuple[str, str], dict[str, Mapping[str, Value]]](dict)
        all_pairs = ((item, pair) for item, values in units.items() for pair in combinations(sorted(values), 2))
        for item, pair in islice(all_pairs, MAX_PAIRS):
            pairs[pair][item] = {name: units[item][name] for name in pair}
        found = [_kappa(each, "kappa") for each in pairs.values() if len(each) >= _MIN_ITEMS]
        return mean_of(each for each in found if each is not None)

    def fleiss(self, units: Units, *, raters: int) -> float | None:
        """See `Kappa.fleiss`: reviewers are interchangeable, so the values of an item are those of its 1st, 2nd ...

        Fleiss (1971) is the pi of several coders in the notation of Artstein and Poesio (2008).
        """
        whole = [(item, values) for item, values in units.items() if len(values) == raters]
        fitting = whole[: MAX_PAIRS // max(1, raters * (raters - 1) // 2)]
        if len(fitting) < _MIN_ITEMS:
            return None
        numbered = {
            item: {str(number): values[name] for number, name in enumerate(sorted(values))} for item, values in fitting
        }
        return _kappa(numbered, "pi")


def _kappa(units: Units, coefficient: str) -> float | None:
    from nltk.metrics.agreement import AnnotationTask  # noqa: PLC0415 - see the class

    said = [(name, item, str(value)) for item, values in units.items() for name, value in values.items()]
    if len({value for *_, value in said}) < 2:  # noqa: PLR2004 - all the same: chance alone agrees, too
        return None
    value = float(getattr(AnnotationTask(said), coefficient)())
    return value if math.isfinite(value) else None
