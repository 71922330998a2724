"""Whether a candidate is as small as a gate asks for."""

from dataclasses import dataclass

from tidemill_evaluator.evaluations.domain.comparison import Comparison

WEIGHTS = "weights"
"""In place of a set of cases."""
WEIGHTS_BYTES = "weights_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the weights of a version take, with those of its base; `size_bytes` 0 is not known, and `why` says why."""

    version: str
    size_bytes: int
    why: str = ""


def compared_weights(baseline: Weights, candidate: Weights, *, max_ratio: float) -> Comparison:
    """Return the comparison; sizes that are not known are no evidence that a candidate is small."""
    saved = baseline.size_bytes - candidate.size_bytes
    note = _shortfall(baseline, candidate, max_ratio=max_ratio)
    return Comparison(
        case_set=WEIGHTS,
        metric=WEIGHTS_BYTES,
        cases=0,
        baseline=baseline.size_bytes,
        candidate=candidate.size_bytes,
        difference=saved,
        low=saved,
        high=saved,
        required=True,
        gain_above=baseline.size_bytes * (1 - max_ratio),
        at_least=0,
        holds=not note,
        baseline_failures=0,
        candidate_failures=0,
        less_is_better=True,
        note=note,
    )


def _shortfall(baseline: Weights, candidate: Weights, *, max_ratio: float) -> str:
    for each in (baseline, candidate):
        if not each.size_bytes:
            return f"the size of {each.version} is not known: {each.why}"
    ratio = candidate.size_bytes / baseline.size_bytes
    if candidate.size_bytes <= max_ratio * baseline.size_bytes:
        return ""
    return (
        f"the weights of {candidate.version} take {ratio:.3f} of those of {baseline.version}; at most {max_ratio:g} may"
    )
