"""How the polling of a source goes: what is due, what is under way, and why it fails."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_ingest.polling.domain.origin import Polling

_MIN_BACKOFF = timedelta(minutes=1)
_MAX_BACKOFF = timedelta(hours=1)
_START = datetime(1970, 1, 1, tzinfo=UTC)


class PollState(Enum):
    """What became of the last attempt."""

    WAITING = "waiting"
    POLLING = "polling"
    CURRENT = "current"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class PollCounts:
    """Files, by what became of them."""

    found: int = 0
    changed: int = 0
    deleted: int = 0
    refused: int = 0
    skipped: int = 0

    def plus(self, *, changed: int = 0, deleted: int = 0, refused: int = 0) -> "PollCounts":
        """Return it with what was done since."""
        return replace(
            self, changed=self.changed + changed, deleted=self.deleted + deleted, refused=self.refused + refused
        )


@dataclass(slots=True, kw_only=True)
class SourcePoll(Aggregate):
    """One for each polled source, with the source's id. It publishes no events.

    A poll that is interrupted goes on under the number that it has: what it does twice has one effect.
    """

    state: PollState = PollState.WAITING
    reason: str = ""
    message: str = ""
    failures: int = 0
    due_at: datetime | None = None
    declared: str = ""
    """The digest of what was declared when it began to be due."""
    epoch: int = 0
    """Of the lease under which it was written last."""
    number: int = 0
    """Of the poll that is under way, or was last: of milliseconds of the clock, and above all before."""
    last_poll_time: datetime | None = None
    position: str = ""
    rules: str = ""
    """Those of the source in the last whole poll."""
    last: PollCounts = field(default_factory=PollCounts)
    under_way: PollCounts | None = None

    @property
    def next_poll_time(self) -> datetime | None:
        """When the next attempt is due."""
        return self.due_at

    def is_due(self, now: datetime) -> bool:
        """Return whether it is to be polled now."""
        return self.due_at is None or self.due_at <= now

    def declare(self, polling: Polling, *, now: datetime) -> None:
        """Be due now where something else is declared than was polled."""
        if self.deleted:
            self.state, self.reason, self.message, self.failures = PollState.WAITING, "", "", 0
            self.under_way, self.last, self.last_poll_time, self.position = None, PollCounts(), None, ""
            self.deleted, self.declared = False, ""
        if self.declared != polling.digest:
            self.declared, self.due_at, self.failures, self.position = polling.digest, now, 0, ""

    def known_position(self, rules: str) -> str:
        """Return where nothing is to be done; "" where a poll was not whole, or by other rules."""
        return self.position if self.under_way is None and self.rules == rules else ""

    def begin(self, *, epoch: int, now: datetime) -> None:
        """Begin a poll, or go on with the one that was interrupted."""
        self.epoch, self.state = epoch, PollState.POLLING
        if self.under_way is None:
            self.number = max(self.number + 1, (now - _START) // timedelta(milliseconds=1))
            self.under_way = PollCounts()

    def advance(self, done: PollCounts) -> None:
        """Remember how far it is; what follows has another number, as files may change while it goes on."""
        self.under_way, self.number = done, self.number + 1

    def finish(self, done: PollCounts, polling: Polling, *, position: str, rules: str, now: datetime) -> None:
        """Record a whole poll."""
        self.state, self.reason, self.message, self.failures = PollState.CURRENT, "", "", 0
        self.last, self.under_way, self.position, self.rules = done, None, position, rules
        self.last_poll_time, self.due_at = now, now + polling.interval

    def fail(self, reason: str, message: str, polling: Polling, *, now: datetime) -> None:
        """Record why it came to no end, and try again: later after each failure in a row, at most after an hour."""
        self.failures += 1
        pause = min(_MAX_BACKOFF, _MIN_BACKOFF * 2 ** min(self.failures - 1, 10))
        self.state, self.reason, self.message = PollState.FAILING, reason, message
        self.due_at = now + max(pause, min(polling.interval, _MAX_BACKOFF) if self.failures > 1 else pause)

    def forget(self) -> None:
        """End with its source."""
        self.due_at, self.deleted, self.under_way = None, True, None
