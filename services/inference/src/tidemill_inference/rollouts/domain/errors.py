"""What can go wrong with rollouts.

NotFound
└── RolloutNotFound
PreconditionFailed
├── NoActiveRollout         there is no candidate to promote, approve or roll back
├── ApprovalsMissing
└── CandidateNotReady       its version is gone, not ready, or cannot be loaded
    ├── IndexNotReady
    ├── PromptNotReady      its prompt version is gone, or takes other variables
    └── LiveIndexChanged    another index version went live meanwhile
Conflict
└── RolloutLeaseLost        another replica reconciles the rollout
"""

from tidemill_core.errors import Conflict, NotFound, PreconditionFailed


class RolloutNotFound(NotFound):
    """The deployment's rollout is another one, or it never had any."""

    reason = "ROLLOUT_NOT_FOUND"

    def __init__(self, rollout: str, *, deployment: str, last: str) -> None:
        there = f"its last one is {last}" if last else "it never had one"
        super().__init__(f"deployment {deployment} has no rollout {rollout}; {there}", rollout=rollout, last=last)


class NoActiveRollout(PreconditionFailed):
    """There is nothing to promote, approve or take back."""

    reason = "NO_ACTIVE_ROLLOUT"

    def __init__(self, deployment: str, *, missing: str) -> None:
        super().__init__(f"deployment {deployment} has no active rollout: {missing}", deployment=deployment)


class ApprovalsMissing(PreconditionFailed):
    """Approvals are missing."""

    reason = "APPROVALS_MISSING"

    def __init__(self, rollout: str, *, given: int, requested: int) -> None:
        super().__init__(
            f"rollout {rollout} has {given} of {requested} approvals: have it approved first",
            given=given,
            requested=requested,
        )


class CandidateNotReady(PreconditionFailed):
    """The candidate's version cannot answer."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"candidate {model} cannot answer: {why}", model=model)


class IndexNotReady(CandidateNotReady):
    """The candidate's index version cannot be searched any more."""

    reason = "INDEX_NOT_READY"

    def __init__(self, collection: str, index: int, *, why: str) -> None:
        super().__init__(f"index version {index} of collection {collection}", why=why)


class PromptNotReady(CandidateNotReady):
    """The candidate's prompt version cannot answer in place of the live one."""

    reason = "PROMPT_NOT_READY"

    def __init__(self, prompt: str, *, why: str) -> None:
        super().__init__(f"prompt {prompt}", why=why)


class LiveIndexChanged(CandidateNotReady):
    """Another index version is live than the candidate was compared with."""

    reason = "BASELINE_CHANGED"

    def __init__(self, collection: str, index: int, *, live: int) -> None:
        why = f"version {live} is live by now, which it was not compared with"
        super().__init__(f"index version {index} of collection {collection}", why=why)


class RolloutLeaseLost(Conflict):
    """Another replica reconciles the rollout."""

    reason = "ROLLOUT_LEASE_LOST"

    def __init__(self, rollout: str) -> None:
        super().__init__(f"another replica reconciles rollout {rollout}", rollout=rollout)
