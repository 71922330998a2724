"""One candidate on its way to users."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import TypedDict

from tidemill_core.aggregate import Event
from tidemill_core.approvals import Approval, counted, with_approval
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.rollouts.domain.changes import IndexChange, PromptChange
from tidemill_inference.rollouts.domain.errors import RolloutLeaseLost
from tidemill_inference.rollouts.domain.policy import OnTimeout, RolloutPolicy, RolloutStep, StickyBy
from tidemill_inference.rollouts.domain.step_counts import Reason, StepCounts

WAITS = "waits for the candidate to be loaded"
MAX_SERVER_ENDS = 2
_SHARES = 100_000
_PERCENT = _SHARES // 100


class RolloutState(Enum):
    """Where a rollout stands."""

    SHADOW = 1
    CANARY = 2
    PROMOTED = 3
    ROLLED_BACK = 4
    HELD = 5


class Hold(Enum):
    """Whom a held rollout waits for."""

    PERSON = "person"
    APPROVALS = "approvals"


class Move(Enum):
    """What is next for a rollout."""

    STAY = "stay"
    ADVANCE = "advance"
    HOLD = "hold"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A move and why."""

    move: Move
    reason: Reason | None = None
    message: str = ""
    hold: Hold | None = None

    @property
    def urgent(self) -> bool:
        """Whether a pause does not keep it: a candidate that answers badly, or cannot, is taken back."""
        return self.move is Move.ROLL_BACK and self.reason is not Reason.TIMEOUT


class NamedRollout(TypedDict):
    """What every event of a rollout is made with."""

    occurred_at: datetime
    rollout: str
    candidate: str
    configuration: str
    evaluation: str
    collection: str
    index: int
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The steps are those of the policy when it began; `ready` is true once the candidate is loaded and may serve.

    `epoch` is that of the last lease under which it was reconciled, which fences earlier holders.
    """

    id: str
    evaluation: str
    baseline: str
    baseline_model: str
    candidate: Configuration
    policy: RolloutPolicy
    state: RolloutState
    start_time: datetime
    step_time: datetime
    step: int = 0
    ready: bool = False
    counts: StepCounts = field(default_factory=StepCounts)
    message: str = ""
    approvals: tuple[Approval, ...] = ()
    hold: Hold | None = None
    finish_time: datetime | None = None
    epoch: int = 0
    authors: tuple[str, ...] = ()
    """The subjects that made the candidate, or started its evaluation: their approvals do not count."""
    decided_by: str = ""
    """The subject that ended it by hand."""
    index: IndexChange | None = None
    """Of an index version's rollout: its candidate is what is live, but for the index version that it searches."""
    prompt: PromptChange | None = None
    """Of a prompt version's rollout: its candidate is what is live, but for the prompt."""

    @property
    def unfinished(self) -> bool:
        """Whether something is left to do, which is more than whether it is active."""
        return self.active or bool(self.index and self.index.pending)

    @property
    def active(self) -> bool:
        """Whether it is still open how it ends."""
        return self.state not in {RolloutState.PROMOTED, RolloutState.ROLLED_BACK}

    @property
    def named_candidate(self) -> str:
        """The candidate as a text names it."""
        if self.prompt:
            return f"prompt {self.prompt.version}"
        return f"index version {self.index.number} of {self.index.collection}" if self.index else self.candidate.model

    @property
    def current(self) -> RolloutStep:
        """The step that it is in."""
        return self.policy.steps[self.step]

    @property
    def missing_approvals(self) -> int:
        """How many still have to agree."""
        return self.policy.approval.missing(self.approvals, self.authors)

    @property
    def counted_approvals(self) -> tuple[Approval, ...]:
        """The approvals that count."""
        return counted(self.approvals, self.authors)

    def named(self, now: datetime) -> NamedRollout:
        """Return the common fields of its events."""
        return NamedRollout(
            occurred_at=now,
            rollout=self.id,
            candidate=self.candidate.model,
            configuration=self.candidate.digest,
            evaluation=self.evaluation,
            collection=self.index.collection if self.index else "",
            index=self.index.number if self.index else 0,
            prompt=self.prompt.version if self.prompt else "",
        )

    def gives_candidate(self, *, end_user: str, request_id: str) -> bool:
        """Whether the candidate serves a user or request: once it does, it does for the rest of the rollout.

        The hash does not depend on the step, so a greater weight only adds users.
        """
        if not self.active or not self.ready or self.current.shadow:
            return False
        by_user = self.policy.sticky_by is StickyBy.END_USER and end_user
        return _place(self.id, f"user:{end_user}" if by_user else f"request:{request_id}") < (
            self.current.weight * _PERCENT
        )

    def decide(
        self, counts: StepCounts, *, now: datetime, paused: bool, server_ends: int = MAX_SERVER_ENDS
    ) -> Decision:
        """Return what is next. What has to be taken back is, whatever else it waits for.

        A step may have so many `server_ends`: which answer ends a server is not known, and the baseline ends with it.
        """
        if not self.active:
            return Decision(move=Move.STAY)
        ended = counts.ended(above=server_ends)
        if self.ready and (found := ended or counts.abort(self.current, self.policy.abort)):
            return Decision(move=Move.ROLL_BACK, reason=found[0], message=found[1])
        if paused or self.hold is Hold.PERSON:
            return Decision(move=Move.STAY)
        if self.hold is Hold.APPROVALS:
            reached = self.counts.reached(self.current, self.policy.abort)  # as they were when it was held
            return self._approved("every approval was given", Reason.STEPS_DONE if reached else Reason.TIMEOUT)
        if self.ready and counts.reached(self.current, self.policy.abort):
            return self._next()
        late = now - self.step_time >= self.current.at_most
        return self._late(counts) if late else Decision(move=Move.STAY)

    def at(self, epoch: int) -> "Rollout":
        """Return it fenced with a lease's epoch.

        Raises:
            RolloutLeaseLost: a later holder was there.

        """
        if epoch < self.epoch:
            raise RolloutLeaseLost(self.id)
        return replace(self, epoch=epoch)

    def waiting(self, why: str) -> "Rollout":
        """Return it with what keeps its candidate from being loaded."""
        return replace(self, message=f"{WAITS}: {why}")

    def begun(self, *, now: datetime) -> "Rollout":
        """Return it with its candidate loaded: the first step begins."""
        return replace(self, ready=True, step_time=now, message="")

    def moved(self, decision: Decision, counts: StepCounts, *, now: datetime) -> "Rollout":
        """Return it one step on, or held."""
        if decision.move is Move.HOLD:
            held = RolloutState.HELD
            return replace(self, state=held, hold=decision.hold, message=decision.message, counts=counts)
        step = self.step + 1
        return replace(
            self, step=step, state=state_of(self.policy.steps[step]), step_time=now, counts=StepCounts(), message=""
        )

    def approved(self, given: Approval, authors: Collection[str]) -> "Rollout":
        """Return it with one more approval, and what is known by now of its authors."""
        known = tuple(sorted({*self.authors, *authors}))
        return replace(self, approvals=with_approval(self.approvals, given), authors=known)

    def making_live(self, number: int) -> "Rollout":
        """Return it with an index version that rag has to make live; of a model's rollout as it is."""
        return replace(self, index=replace(self.index, pending=number)) if self.index else self

    def ended(
        self,
        state: RolloutState,
        *,
        message: str,
        now: datetime,
        counts: StepCounts | None = None,
        decided_by: str = "",
    ) -> "Rollout":
        """Return it at its end."""
        counts = counts or self.counts
        return replace(
            self,
            state=state,
            message=message,
            finish_time=now,
            hold=None,
            counts=counts,
            decided_by=decided_by,
        )

    def _next(self) -> Decision:
        if self.step + 1 < len(self.policy.steps):
            return Decision(move=Move.ADVANCE)
        return self._approved("every step was passed", Reason.STEPS_DONE)

    def _approved(self, why: str, reason: Reason) -> Decision:
        """Return promotion, or a hold while approvals are missing."""
        if not (missing := self.missing_approvals):
            return Decision(move=Move.PROMOTE, reason=reason, message=why)
        if self.hold is Hold.APPROVALS:
            return Decision(move=Move.STAY)
        return Decision(move=Move.HOLD, hold=Hold.APPROVALS, message=f"{why}; waits for approvals: {missing} more")

    @property
    def _not_ready(self) -> Reason:
        if self.prompt:
            return Reason.PROMPT_NOT_READY
        return Reason.INDEX_NOT_READY if self.index else Reason.MODEL_NOT_READY

    def _late(self, counts: StepCounts) -> Decision:
        hours = self.current.at_most.total_seconds() / 3600
        enough = counts.missing(self.current, self.policy.abort)
        what = f"did not see {enough}" if self.ready else "could not begin"
        text = f"step {self.step} {what} within {hours:.3g} h" + ("" if self.ready else f": it {self.message}")
        match self.policy.on_timeout:
            case OnTimeout.ROLL_BACK | OnTimeout.PROMOTE if not self.ready:
                return Decision(move=Move.ROLL_BACK, reason=self._not_ready, message=text)
            case OnTimeout.ROLL_BACK:
                return Decision(move=Move.ROLL_BACK, reason=Reason.TIMEOUT, message=text)
            case OnTimeout.PROMOTE if not counts.answers and (found := counts.ended(above=0)):
                return Decision(move=Move.ROLL_BACK, reason=found[0], message=f"{text}: {found[1]}")
            case OnTimeout.PROMOTE:
                return self._approved(text, Reason.TIMEOUT)
        return Decision(move=Move.HOLD, hold=Hold.PERSON, message=f"{text}: promote it or roll it back")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent(Event):
    """The fields of every event of a rollout."""

    rollout: str
    candidate: str
    configuration: str
    evaluation: str
    collection: str = ""
    """With `index`: the index version that the candidate is; "" where it is none."""
    index: int = 0
    prompt: str = ""
    """The `prompt@version` that the candidate is; "" where it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutHasStarted(RolloutEvent):
    """A candidate is on its way to users; `baseline` is the digest of what is live."""

    baseline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutHasAdvanced(RolloutEvent):
    """A rollout is at its next step, or held."""

    state: RolloutState
    step: int
    weight: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWasPromoted(RolloutEvent):
    """The candidate is live; `replaced` is the digest that answered before."""

    reason: Reason
    message: str
    replaced: str
    approvals: tuple[Approval, ...] = ()
    decided_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWasRolledBack(RolloutEvent):
    """The candidate was taken back."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWasRefused(RolloutEvent):
    """A passed evaluation starts no rollout, or one that it started ends because the evaluation no longer holds."""

    reason: Reason
    message: str


def state_of(step: RolloutStep) -> RolloutState:
    """Return the state that a step is."""
    return RolloutState.SHADOW if step.shadow else RolloutState.CANARY


def without_rationale(reason: Reason, message: str) -> str:
    """Return what an event may contain: free text of users stays with the rollout."""
    return "by hand" if reason is Reason.BY_HAND else message


def _place(rollout: str, key: str) -> int:
    """Return the place of a person or request among all shares."""
    digest = hashlib.sha256(f"{rollout}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8]) % _SHARES
