"""What was taken back before it expired: the whole compacted topic in memory, read at the start and followed then.

While Kafka does not answer, what is known counts for a stated time; then nothing is answered that needs a credential.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ValidationError

from tidemill_core.application import MAX_LEEWAY
from tidemill_kit.access.errors import CredentialRevoked, KeysUnavailable
from tidemill_kit.access.tokens import ANY_PROJECT, Claims
from tidemill_kit.events.bodies import without_prefix

TOPIC = "tidemill.monitor.access.v1"
_SWEEP_AT = 1024
"""After so many records those that have expired are removed."""
_FOREVER = float("inf")


class Kind(StrEnum):
    """What is revoked."""

    KEY = "KEY"
    """One credential, by its `jti`."""
    SUBJECT = "SUBJECT"
    """All in the project that carry a name, issued before: it was removed, or its roles lowered. See `Claims.names`."""
    PROJECT = "PROJECT"
    """All in the project, whenever they were issued: it was deleted, and its id is never given again."""


class Revocation(BaseModel, frozen=True):
    """One record's value."""

    kind: Annotated[Kind, without_prefix("CREDENTIAL_KIND_")]
    project: str
    """The tokens' project; `*` concerns tokens of any."""
    id: str = ""
    revoke_time: datetime
    expire_time: datetime | None = None
    """When all that it concerns has expired by itself; it is forgotten then."""


@dataclass(frozen=True, slots=True)
class _Entry:
    revoked_at: float
    expires_at: float

    def joined(self, known: "_Entry | None") -> "_Entry":
        """Return what both say: after an interruption the topic is read again, and begins with what is older."""
        if known is None:
            return self
        return _Entry(max(self.revoked_at, known.revoked_at), max(self.expires_at, known.expires_at))


class Revocations:
    """What is revoked, as far as it was read; nothing is answered before it was read once."""

    def __init__(
        self,
        *,
        hold_s: float = math.inf,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.complete = False
        """Whether all was read that the topic held at the start."""
        self.hold_s = hold_s
        """How long what is known counts while Kafka does not answer."""
        self._monotonic = monotonic
        self._contact_at = monotonic()
        self._reads_again = False
        self._unheard = False
        """Whether there is something that the listeners were not called for."""
        self._now = now
        self._entries: dict[tuple[Kind, str, str], _Entry] = {}
        self._listeners: list[Callable[[], None]] = []
        self._until_sweep = _SWEEP_AT

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._entries)

    @property
    def age_s(self) -> float:
        """How long ago Kafka answered, at first since the start of the process: what is known is as old at most."""
        return self._monotonic() - self._contact_at

    def contact(self) -> None:
        """Take it that Kafka has just answered."""
        self._contact_at = self._monotonic()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call after each revocation, and once after those that stand in a topic that is read from its beginning."""
        self._listeners.append(listener)

    def caught_up(self) -> None:
        """Take it that all was read that the topic holds."""
        self.complete, self._reads_again = True, False
        self._notify()

    def interrupted(self) -> None:
        """Take it that the topic will be read from its beginning; what was read so far counts."""
        if self.complete:
            self._notify()
        self._reads_again = True

    def apply(self, value: bytes) -> bool:
        """Remember a record; return whether it could be read."""
        try:
            revocation = Revocation.model_validate_json(value)
        except ValidationError:
            return False
        of_project = revocation.kind is Kind.PROJECT
        expire_time = None if of_project else revocation.expire_time
        expires_at = _FOREVER if expire_time is None else expire_time.timestamp() + MAX_LEEWAY.total_seconds()
        key = (revocation.kind, revocation.project, "" if of_project else revocation.id)
        entry = _Entry(_FOREVER if of_project else revocation.revoke_time.timestamp(), expires_at)
        self._entries[key] = entry.joined(self._entries.get(key))
        self._sweep()
        self._unheard = True
        if self.complete and not self._reads_again:
            self._notify()
        return True

    def check(self, claims: Claims) -> None:
        """Pass what is not revoked.

        Raises:
            KeysUnavailable: that is not known yet, or no longer.
            CredentialRevoked: it is.

        """
        if not self.complete or self.age_s > self.hold_s:
            raise KeysUnavailable(dependency="kafka")
        if self.names(claims):
            raise CredentialRevoked

    def revoked(self, project: str, credential: str) -> bool:
        """Return whether one credential of a project was revoked by its id, as far as that is known."""
        return any((Kind.KEY, each, credential) in self._entries for each in (project, ANY_PROJECT))

    def deleted(self, project: str) -> bool:
        """Return whether a project was deleted."""
        return (Kind.PROJECT, project, "") in self._entries

    def names(self, claims: Claims) -> bool:
        """Return whether a credential is among what is revoked, as far as that is known."""
        named = [(Kind.PROJECT, ""), *((Kind.SUBJECT, name) for name in claims.names)]
        for project in {claims.project, ANY_PROJECT}:
            if (Kind.KEY, project, claims.id) in self._entries:
                return True
            for kind, name in named:
                entry = self._entries.get((kind, project, name))
                if entry is not None and claims.issue_time < entry.revoked_at:
                    return True
        return False

    def _notify(self) -> None:
        if self._unheard:
            self._unheard = False
            for listener in self._listeners:
                listener()

    def _sweep(self) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            now = self._now()
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}
            self._until_sweep = max(_SWEEP_AT, len(self._entries))
