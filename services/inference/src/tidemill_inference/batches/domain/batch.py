"""A batch: requests of a file, asked behind live traffic, with a file of answers and one of errors."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_inference.batches.domain.errors import BatchLeaseLost

DEFAULT_WINDOW = timedelta(hours=24)
MIN_WINDOW, DEFAULT_MAX_WINDOW = timedelta(minutes=1), timedelta(days=14)
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
"""What the lines of a batch may ask."""


class BatchState(Enum):
    """Where a batch is."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


_FINAL = frozenset({BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who asked for a batch, with the rights of then: its lines are asked with these."""

    subject: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    credential: str = ""
    via: str = ""

    @classmethod
    def of(cls, caller: Caller) -> "Author":
        """Return the author that a caller is."""
        return cls(
            subject=caller.subject,
            roles=tuple(sorted(caller.roles)),
            groups=tuple(sorted(caller.groups)),
            permissions=tuple(sorted(caller.permissions)),
            scopes=None if caller.scopes is None else tuple(sorted(caller.scopes)),
            credential=caller.credential,
            via=caller.via,
        )

    def caller(self, project: str) -> Caller:
        """Return the caller that the author is again."""
        return Caller(
            project=project,
            subject=self.subject,
            roles=frozenset(self.roles),
            groups=frozenset(self.groups),
            permissions=frozenset(self.permissions),
            scopes=None if self.scopes is None else frozenset(self.scopes),
            credential=self.credential,
            via=self.via,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many lines have a request, and how many of these an answer or an error."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(slots=True, kw_only=True)
class Batch(Aggregate):
    """Works under the lease of one worker, whose `epoch` fences those before it."""

    endpoint: str
    input_file: str
    author: Author
    completion_window: timedelta = DEFAULT_WINDOW
    expire_time: datetime
    state: BatchState = BatchState.VALIDATING
    output_file: str = ""
    error_file: str = ""
    counts: Counts = Counts()
    reason: str = ""
    message: str = ""
    start_time: datetime | None = None
    finish_time: datetime | None = None
    cancel_time: datetime | None = None
    epoch: int = 0

    @property
    def final(self) -> bool:
        """Whether it is at its end."""
        return self.state in _FINAL

    @property
    def creator(self) -> str:
        """The subject that asked for it."""
        return self.author.subject

    def check(self, max_window: timedelta) -> None:
        """Refuse what can never work, or may take longer than batches may.

        Raises:
            InvalidInput: names every field, its value and what is supported.

        """
        found = []
        if self.endpoint not in ENDPOINTS:
            found.append(Violation("endpoint", f"is {self.endpoint[:80]!r}; supported: {', '.join(ENDPOINTS)}"))
        if not self.input_file:
            found.append(Violation("input_file", "is required"))
        if not MIN_WINDOW <= self.completion_window <= max_window:
            seconds = self.completion_window.total_seconds()
            text = f"is {seconds:g} s; use 60 s to {max_window.days} days (INFERENCE_BATCH_MAX_WINDOW_DAYS)"
            found.append(Violation("completion_window", text))
        if found:
            raise InvalidInput.of(*found)

    def changeable_by(self, caller: Caller) -> bool:
        """Whether a caller may end it: who asked for it, and who acts for users."""
        return has_right(caller, ACT_FOR_USERS) or caller.subject == self.creator

    def predates(self, erased: Iterable[datetime]) -> bool:
        """Whether it was begun before one of these erasures ended."""
        return any(self.create_time is None or self.create_time <= each for each in erased)

    def take(self, epoch: int, *, total: int, now: datetime) -> None:
        """Begin, or go on, under a lease.

        Raises:
            BatchLeaseLost: a later holder was there.

        """
        self._check(epoch)
        self.epoch, self.counts = epoch, replace(self.counts, total=total)
        self.start_time = self.start_time or now
        if self.state is BatchState.VALIDATING:
            self.state = BatchState.IN_PROGRESS

    def count(self, epoch: int, counts: Counts) -> None:
        """Record how far it is; raises as `take`."""
        self._check(epoch)
        self.counts = counts

    def cancel(self, *, now: datetime) -> None:
        """Ask its worker to end it; what is at its end stays so."""
        if self.final or self.state is BatchState.CANCELLING:
            return
        self.state, self.cancel_time = BatchState.CANCELLING, now

    def finalize(self, epoch: int) -> None:
        """Record that all is asked, and results are written; raises as `take`."""
        self._check(epoch)
        if self.state is BatchState.IN_PROGRESS:
            self.state = BatchState.FINALIZING

    def finish(self, epoch: int, state: BatchState, *, counts: Counts, files: tuple[str, str], now: datetime) -> None:
        """Record the end with the files of answers and errors; raises as `take`."""
        self._check(epoch)
        self.state, self.counts, self.finish_time = state, counts, now
        self.output_file, self.error_file = files

    def fail(self, epoch: int, *, reason: str, message: str, now: datetime) -> None:
        """Record that its file cannot be used; raises as `take`."""
        self._check(epoch)
        self.state, self.reason, self.message, self.finish_time = BatchState.FAILED, reason, message, now

    def _check(self, epoch: int) -> None:
        if epoch < self.epoch or self.final:
            raise BatchLeaseLost(self.id)
