"""Whether what is live got worse than it was when it passed its gate."""

from collections.abc import Sequence
from dataclasses import replace

from tidemill_evaluator.errors import NOT_COMPARABLE, NoVerdict
from tidemill_evaluator.evaluations.domain.clusters import Cluster, answered_of
from tidemill_evaluator.evaluations.domain.comparison import Asked, Comparison, Evidence, Verdict, with_lost
from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.gates.domain.gate import Requirement


def accepted_loss(requirement: Requirement) -> float:
    """Return the loss that a requirement accepts: as much as it accepted of the candidate, or none."""
    return max(0.0, -requirement.gain_above)


def compared_again(  # noqa: PLR0913 - all that decides
    asked: Asked,
    found: Comparison,
    results: Sequence[CaseResult],
    clusters: Sequence[Cluster],
    *,
    questions: int,
    evidence: Evidence,
) -> Comparison:
    """Return a comparison that holds unless its interval shows a greater loss than its requirement accepts.

    Cases that only the passed evaluation has a value of count with the worst value; `questions` are those that it has
    a value of. A requirement that holds with a note is not decided.
    """
    if asked.requirement is None:
        return found
    minimum, observed = evidence.questions_for(asked.requirement), len(answered_of(clusters))
    lost = sum(result.lost(asked.metric) for result in results)
    size = sum(result.has(asked.metric) for result in results)
    if questions >= minimum and lost > evidence.max_unanswered * size:
        note = f"got worse: {lost} of {size} cases have no value any more; the limit is {evidence.max_unanswered:.0%}"
        return replace(found, holds=False, note=note)
    if found.cases < minimum or (not asked.bounded and observed < evidence.min_clusters):
        note = f"not decided: {found.cases} questions in {observed} clusters are compared; {minimum} are needed"
        if not asked.bounded:
            note += f", in {evidence.min_clusters} clusters"
        return replace(found, holds=True, note=note)
    high, accepted = (
        with_lost(clusters, asked, found.high, worst=asked.worst(results)),
        accepted_loss(asked.requirement),
    )
    if high >= -accepted:
        return replace(found, holds=True, note="")
    note = f"got worse: the upper bound of the gain is {high:+.4f}; a loss of {accepted:g} is accepted"
    return replace(found, holds=False, note=note)


def not_worse_of(comparisons: Sequence[Comparison]) -> Verdict:
    """Return WORSE if what one requirement asks for got worse, NOT_WORSE if all were compared and none did.

    Raises:
        NoVerdict: none got worse, and one could not be decided.

    """
    required = [each for each in comparisons if each.required]
    if not all(each.holds for each in required):
        return Verdict.WORSE
    if undecided := [f"{each.metric} on {each.case_set} is {each.note}" for each in required if each.note]:
        message = f"{'; '.join(undecided)}: too few answers of the passed evaluation compare with those of now"
        raise NoVerdict(NOT_COMPARABLE, message)
    return Verdict.NOT_WORSE
