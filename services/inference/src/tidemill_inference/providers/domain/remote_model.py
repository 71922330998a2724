"""What a version of a remote model is, by what its provider's answers say of themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate, Event
from tidemill_inference.engines.ports import ProviderIdentity

MAX_KNOWN = 16
"""Identities of a version that are no change when they come again: a provider's servers may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModelHasChanged(Event):
    """A provider answers as a model as which it was not known."""

    identity: ProviderIdentity
    previous: ProviderIdentity
    """That of the last change before, or of the first answer; it may have answered as an earlier one since."""


@dataclass(slots=True, kw_only=True)
class RemoteModelRecord(Aggregate):
    """Its id is `model@version`. The identities that it answered as are in the order in which they came first."""

    known: tuple[ProviderIdentity, ...] = ()
    change_time: datetime | None = None
    """Of the last change; the first identity is none."""

    def answered_as(self, identity: ProviderIdentity, *, now: datetime, min_interval: timedelta) -> None:
        """Record a new identity, and that it is a change unless it is the first one.

        What comes sooner than `min_interval` after the last change is not recorded: a provider that names another model
        each time changes no more often than that, and a change that lasts is recorded with a later answer.
        """
        if identity in self.known or self.pause(now, min_interval):
            return
        if self.known:
            self.pending.append(RemoteModelHasChanged(occurred_at=now, identity=identity, previous=self.known[-1]))
            self.change_time = now
        self.known = (*self.known, identity)[-MAX_KNOWN:]

    def pause(self, now: datetime, min_interval: timedelta) -> timedelta:
        """Return how long no further change is recorded."""
        return max(self.change_time + min_interval - now, timedelta(0)) if self.change_time else timedelta(0)
