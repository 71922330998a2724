"""Whether a candidate has memorised no more of the canaries of its training than a gate lets it."""

from dataclasses import dataclass

from tidemill_evaluator.evaluations.domain.comparison import Comparison

CANARIES = "canaries"
"""In place of a set of cases."""
EXPOSURE = "exposure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """The mean exposure of a version's canaries, in bits, as its training measured it."""

    bits: float
    threshold: float
    """What a model that never saw them exceeds in one of a hundred cases."""
    canaries: int
    """Those that were measured."""
    planted: int = 0
    """More than these where there was no time for the rest; 0 where that is not known."""


def compared_exposure(live: Exposure | None, candidate: Exposure | None, *, version: str, at_most: float) -> Comparison:
    """Return the comparison; what was not measured in full is no evidence that little was memorised.

    Where nothing was measured of the live model, its exposure is shown as 0, and the difference says nothing.
    """
    before, after = live.bits if live else 0.0, candidate.bits if candidate else 0.0
    note = _excess(candidate, version=version, at_most=at_most)
    return Comparison(
        case_set=CANARIES,
        metric=EXPOSURE,
        cases=candidate.canaries if candidate else 0,
        baseline=before,
        candidate=after,
        difference=before - after,
        low=before - after,
        high=before - after,
        required=True,
        gain_above=before - at_most,
        at_least=0,
        holds=not note,
        baseline_failures=0,
        candidate_failures=0,
        less_is_better=True,
        note=note,
    )


def _excess(candidate: Exposure | None, *, version: str, at_most: float) -> str:
    if candidate and candidate.canaries < candidate.planted:
        measured = f"{candidate.canaries} of {candidate.planted} canaries of {version} were measured"
        return f"{measured} within trainer's RUN_MEASURE_S: raise it, or plant fewer, and train again"
    if candidate is None or not candidate.canaries:
        return f"no exposure was measured of {version}: let the plan of its training plant canaries (memorisation)"
    if candidate.bits <= at_most:
        return ""
    return (
        f"the {candidate.canaries} canaries of {version} have an exposure of {candidate.bits:.2f} bits; at most "
        f"{at_most:g} may be (a model that never saw them is above {candidate.threshold:.2f} in 1 % of cases)"
    )
