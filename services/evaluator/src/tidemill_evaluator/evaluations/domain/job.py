"""Work of evaluator that one worker at a time does under a lease, until it ends with a result or without."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_evaluator.errors import CANCELLED, EvaluationFinished, EvaluationLost


class State(Enum):
    """COMPLETED, FAILED and CANCELLED are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = frozenset({State.QUEUED, State.RUNNING})


@dataclass(slots=True, kw_only=True)
class EvaluationJob(Aggregate):
    """QUEUED until a worker has pinned what it evaluates, then RUNNING, then final."""

    asked_by: str = ""
    """Digest of the request that created it; empty if an event did."""
    requester: str = ""
    """The subject of the credential that started its first attempt; empty if an event did."""
    state: State = State.QUEUED
    answered: int = 0
    remaining_s: float | None = None
    reason: str = ""
    message: str = ""
    finish_time: datetime | None = None
    epoch: int = 0
    """Lease epoch of the worker; writes of other epochs are refused."""

    def has_failed(self, now: datetime) -> Event | None:
        """Return the event of an end without a result; None publishes none."""
        raise NotImplementedError

    def claim(self, epoch: int) -> None:
        """Assign it to the worker with this lease epoch.

        Raises:
            EvaluationLost: a later epoch has it, or nothing is left to do.

        """
        if epoch < self.epoch or self.state not in UNFINISHED or self.deleted:
            raise EvaluationLost(self.id)
        self.epoch = epoch

    def progress(self, answered: int, *, remaining_s: float | None, epoch: int) -> None:
        """Record progress; it never decreases."""
        self.refuse_unless_claimed(epoch)
        self.message = ""
        self.answered, self.remaining_s = max(self.answered, answered), remaining_s

    def wait(self, message: str, *, epoch: int) -> None:
        """Record what it waits for."""
        self.refuse_unless_claimed(epoch)
        self.message, self.remaining_s = message, None

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail without a result."""
        self.refuse_unless_claimed(epoch)
        self.finish(State.FAILED, now, self.has_failed(now))
        self.reason, self.message = reason, message

    def cancel(self, now: datetime, *, message: str = "cancelled by a user") -> None:
        """Cancel it; no effect if it is already cancelled.

        Raises:
            EvaluationFinished: it ended otherwise.

        """
        if self.state is State.CANCELLED:
            return
        self.refuse_finished()
        self.finish(State.CANCELLED, now, self.has_failed(now))
        self.reason, self.message = CANCELLED, message

    def refuse_finished(self) -> None:
        """Check that it has not ended.

        Raises:
            EvaluationFinished: it has.

        """
        if self.state not in UNFINISHED:
            raise EvaluationFinished(self.id, state=self.state.value)

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Check that the worker with this epoch may write.

        Raises:
            EvaluationLost: a later one has it, or it has ended.

        """
        if epoch != self.epoch or self.state not in UNFINISHED or self.deleted:
            raise EvaluationLost(self.id)

    def finish(self, state: State, now: datetime, event: Event | None) -> None:
        """Record the end."""
        self.state, self.finish_time, self.remaining_s, self.message = state, now, None, ""
        if event:
            self.pending.append(event)
