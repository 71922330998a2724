"""What can go wrong in the evaluator, beyond bad input.

NotFound
├── SuiteNotFound
├── GateNotFound
├── JudgeNotFound
├── SpentLevelNotFound
├── EvaluationNotFound
├── HarnessRunNotFound
├── ProposalNotFound
├── HarnessReportGone       none was sent with a run, or it was erased
└── CasesErased             the held-out split that an evaluation has begun with is not there any more
Conflict
├── EvaluationLost
└── MeasurementLost
PreconditionFailed
├── SuiteInUse
├── JudgeInUse
├── JudgeBusy
├── CandidateNotReady
├── NoJudgements
├── EvaluationFinished
├── ProposalDecided         it was accepted or refused before
├── ProposalInterrupted     its request, or its acceptance, was interrupted: sent again, it goes on
├── NothingProposed         a proposal has no case that a suite could take
├── HarnessRunsDiffer       two runs have nothing to compare
└── NoVerdict               why a comparison came to no verdict; ends as an evaluation's reason
"""

from collections.abc import Sequence

from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyUnavailable,
    NotFound,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)

PASSING = (DependencyUnavailable, RateLimited, DeadlineExceeded)
"""Errors of other services that make an evaluation wait."""

BASELINE_CHANGED = "BASELINE_CHANGED"
CANCELLED = "CANCELLED"
CANDIDATE_UNAVAILABLE = "CANDIDATE_UNAVAILABLE"
CODE_UNAVAILABLE = "CODE_UNAVAILABLE"
COLLECTION_CHANGED = "COLLECTION_CHANGED"
COLLECTION_UNAVAILABLE = "COLLECTION_UNAVAILABLE"
DATA_ERASED = "DATA_ERASED"
DEPLOYMENT_CHANGED = "DEPLOYMENT_CHANGED"
DEPLOYMENT_UNAVAILABLE = "DEPLOYMENT_UNAVAILABLE"
EMBEDDING_UNAVAILABLE = "EMBEDDING_UNAVAILABLE"
JUDGE_CHANGED = "JUDGE_CHANGED"
JUDGE_DISAGREES = "JUDGE_DISAGREES"
JUDGE_DRIFTED = "JUDGE_DRIFTED"
JUDGE_UNAVAILABLE = "JUDGE_UNAVAILABLE"
JUDGE_UNMEASURED = "JUDGE_UNMEASURED"
JUDGE_UNRELIABLE = "JUDGE_UNRELIABLE"
JUDGES_ITSELF = "JUDGES_ITSELF"
OF_JUDGES = frozenset(
    {JUDGE_DISAGREES, JUDGE_DRIFTED, JUDGE_UNAVAILABLE, JUDGE_UNMEASURED, JUDGE_UNRELIABLE, JUDGES_ITSELF}
)
"""What keeps a judge from judging until the user changes it, its deployment or the gate."""
NO_CASES = "NO_CASES"
NO_JUDGEMENTS = "NO_JUDGEMENTS"
NOT_COMPARABLE = "NOT_COMPARABLE"
NOT_LIVE = "NOT_LIVE"
PROMPT_UNAVAILABLE = "PROMPT_UNAVAILABLE"
ROLLOUT_ACTIVE = "ROLLOUT_ACTIVE"
SETTINGS_REJECTED = "SETTINGS_REJECTED"
SUPERSEDED = "SUPERSEDED"
TOO_FEW_ANSWERS = "TOO_FEW_ANSWERS"
TOO_FEW_LABELS = "TOO_FEW_LABELS"
TOO_MANY_CASES = "TOO_MANY_CASES"
VARIABLES_DIFFER = "VARIABLES_DIFFER"


class SuiteNotFound(NotFound):
    """The caller's project has no such suite."""

    reason = "SUITE_NOT_FOUND"

    def __init__(self, suite: str) -> None:
        super().__init__(f"suite {suite} does not exist in this project: create it first", suite=suite)


class ProposalNotFound(NotFound):
    """The caller's project has no such proposal."""

    reason = "PROPOSAL_NOT_FOUND"

    def __init__(self, proposal: str) -> None:
        super().__init__(f"proposal {proposal} does not exist in this project", proposal=proposal)


class ProposalDecided(PreconditionFailed):
    """A proposal is decided once."""

    reason = "PROPOSAL_DECIDED"

    def __init__(self, proposal: str, *, state: str) -> None:
        super().__init__(f"proposal {proposal} is {state} already: make another one", proposal=proposal)


class ProposalInterrupted(PreconditionFailed):
    """What made a proposal, or accepted it, was interrupted; `then` says how it is finished."""

    reason = "PROPOSAL_INTERRUPTED"

    def __init__(self, proposal: str, *, then: str) -> None:
        message = f"proposal {proposal}: a request for it was interrupted: {then}"
        super().__init__(message, proposal=proposal)


class NothingProposed(PreconditionFailed):
    """A proposal has no case that a suite could take."""

    reason = "NOTHING_PROPOSED"

    def __init__(self, proposal: str) -> None:
        message = f"proposal {proposal} has no case left: its candidates were refused, left out or erased; refuse it"
        super().__init__(message, proposal=proposal)


class SpentLevelNotFound(NotFound):
    """No candidate was compared with this live model on these cases yet."""

    reason = "SPENT_LEVEL_NOT_FOUND"

    def __init__(self, level: str) -> None:
        super().__init__(f"nothing is spent of level {level}", level=level)


class GateNotFound(NotFound):
    """The caller's project has no such gate."""

    reason = "GATE_NOT_FOUND"

    def __init__(self, gate: str) -> None:
        super().__init__(f"gate {gate} does not exist in this project: create it first", gate=gate)


class JudgeNotFound(NotFound):
    """The caller's project has no such judge."""

    reason = "JUDGE_NOT_FOUND"

    def __init__(self, judge: str) -> None:
        super().__init__(f"judge {judge} does not exist in this project: create it first", judge=judge)


class EvaluationNotFound(NotFound):
    """The caller's project has no such evaluation."""

    reason = "EVALUATION_NOT_FOUND"

    def __init__(self, evaluation: str) -> None:
        super().__init__(f"evaluation {evaluation} does not exist in this project", evaluation=evaluation)


class HarnessRunNotFound(NotFound):
    """The caller's project has no such run of a harness."""

    reason = "HARNESS_RUN_NOT_FOUND"

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} of a harness does not exist in this project", run=run)


class HarnessReportGone(NotFound):
    """No report was sent with the run, or it was erased, or is past its retention."""

    reason = "HARNESS_REPORT_GONE"

    def __init__(self, run: str) -> None:
        message = f"run {run} has no report: none was sent, or it was erased or has expired; its scores stay"
        super().__init__(message, run=run)


class CasesErased(NotFound):
    """The cases are not there any more: an erasure writes what it leaves of a set as another object."""

    reason = DATA_ERASED

    def __init__(self, case_set: str) -> None:
        super().__init__(f"{case_set} is not there any more", case_set=case_set)


class EvaluationLost(Conflict):
    """The evaluation is finished or was taken over by another worker."""

    reason = "EVALUATION_LOST"

    def __init__(self, evaluation: str) -> None:
        message = f"evaluation {evaluation} is finished, or was taken over by another worker"
        super().__init__(message, evaluation=evaluation)


class MeasurementLost(Conflict):
    """The measurement has ended, or was taken over by another worker."""

    reason = "MEASUREMENT_LOST"

    def __init__(self, judge: str) -> None:
        message = f"the measurement of judge {judge} has ended, or was taken over by another worker"
        super().__init__(message, judge=judge)


class SuiteInUse(PreconditionFailed):
    """Gates refer to the suite, so it cannot be deleted."""

    reason = "SUITE_IN_USE"

    def __init__(self, suite: str, gates: Sequence[str]) -> None:
        super().__init__(
            f"suite {suite} is required by {', '.join(gates)}: update or delete these gates first", suite=suite
        )


class JudgeInUse(PreconditionFailed):
    """Gates require the judge's metric, or juries have it, so it cannot be deleted."""

    reason = "JUDGE_IN_USE"

    def __init__(self, judge: str, users: Sequence[str]) -> None:
        super().__init__(f"judge {judge} is required by {', '.join(users)}: update or delete these first", judge=judge)


class JudgeBusy(PreconditionFailed):
    """The judge is being measured."""

    reason = "JUDGE_BUSY"

    def __init__(self, judge: str) -> None:
        super().__init__(f"judge {judge} is being measured: wait until that has ended", judge=judge)


class CandidateNotReady(PreconditionFailed):
    """The candidate is not a READY version."""

    reason = CANDIDATE_UNAVAILABLE

    def __init__(self, candidate: str) -> None:
        super().__init__(f"version {candidate} is not ready: wait for it, or use another version", candidate=candidate)


class NoJudgements(PreconditionFailed):
    """No case of the suite names a relevant document."""

    reason = NO_JUDGEMENTS

    def __init__(self, suite: str) -> None:
        super().__init__(
            f"no case of suite {suite} names a relevant document: import judged questions (`tidemill suites import`), "
            "or generate some (`tidemill suites generate`)",
            suite=suite,
        )


class HarnessRunsDiffer(PreconditionFailed):
    """Two runs have no scores that can be compared."""

    reason = "HARNESS_RUNS_DIFFER"


class EvaluationFinished(PreconditionFailed):
    """The evaluation has ended, so it cannot be cancelled."""

    reason = "EVALUATION_FINISHED"

    def __init__(self, evaluation: str, *, state: str) -> None:
        super().__init__(f"evaluation {evaluation} is already {state}", evaluation=evaluation, state=state)


class NoVerdict(PreconditionFailed):
    """No verdict is possible; permanent."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def waits_for(error: TidemillError) -> str:
    """Return what an evaluation waits for after one of `PASSING`, in words."""
    dependency = error.dependency if isinstance(error, DependencyUnavailable) else "an overloaded service"
    return f"waits for {dependency}: {error.message}"


def first_of(failures: ExceptionGroup[Exception]) -> Exception:
    """Return the most important error of the group: unexpected ones, then refusals, then waiting."""

    def order(error: Exception) -> int:
        return 2 if isinstance(error, PASSING) else int(isinstance(error, TidemillError))

    return min(failures.exceptions, key=order)
