"""A token that was issued to a program: all about it but the token itself."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import MAX_LEEWAY
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_monitor.access.domain.names import Limits, rpc_violations
from tidemill_monitor.access.domain.revocations import CredentialKind, CredentialsWereRevoked

SHORTEST = timedelta(minutes=1)
_DAY = timedelta(days=1)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_SOURCE = 512


class ApiKeyState(StrEnum):
    """Whether a key is accepted."""

    ACTIVE = "active"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(slots=True, kw_only=True)
class ApiKey(Aggregate):
    """Stored with the digest of its token, which says of a token whether it is this one's."""

    service_account: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    credential: str
    digest: str = field(repr=False)
    """sha256 of the token."""
    issue_time: datetime
    expire_time: datetime
    revoke_time: datetime | None = None
    public_key: str = ""
    """Of a publisher, whose certificate the token is."""
    event_source: str = ""

    def revoke(self, *, now: datetime) -> None:
        """Have it refused everywhere; what is revoked or refused as expired stays as it is."""
        if self.revoke_time is not None:
            return
        self.revoke_time = now
        if now >= self.expire_time + MAX_LEEWAY:
            return
        self.pending.append(
            CredentialsWereRevoked(
                occurred_at=now,
                kind=CredentialKind.KEY,
                project=self.project,
                id=self.credential,
                revoke_time=now,
                expire_time=self.expire_time,
            )
        )

    def state(self, *, now: datetime, revoked: datetime | None) -> ApiKeyState:
        """Return whether it is accepted, where tokens like it that were issued before `revoked` are revoked."""
        if self.revoke_time is not None or (revoked is not None and self.issue_time < revoked):
            return ApiKeyState.REVOKED
        return ApiKeyState.EXPIRED if now >= self.expire_time else ApiKeyState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """What a user decides about a key."""

    id: str
    service_account: str
    scopes: tuple[str, ...] = ()
    expire_time: datetime | None = None
    labels: dict[str, str] = field(default_factory=dict)
    public_key: str = ""
    event_source: str = ""

    def check(self, limits: Limits, *, known: Collection[str], now: datetime, longest: timedelta) -> None:
        """Validate all fields.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits, known, now, longest))

    def _violations(
        self, limits: Limits, known: Collection[str], now: datetime, longest: timedelta
    ) -> Iterator[Violation]:
        yield from slug_violations("api_key.id", self.id)
        yield from slug_violations("api_key.service_account", self.service_account)
        yield from label_violations("api_key.labels", self.labels)
        yield from rpc_violations("api_key.scopes", self.scopes, least=0, limit=limits.scopes, known=known)
        yield from self._publisher_violations()
        if self.expire_time is not None and not SHORTEST <= self.expire_time - now <= longest:
            text = (
                f"is {self.expire_time.isoformat(timespec='seconds')}; use a time between {SHORTEST} and "
                f"{longest // _DAY} days from now"
            )
            yield Violation(field="api_key.expire_time", description=text)

    def _publisher_violations(self) -> Iterator[Violation]:
        if self.public_key and not _PUBLIC_KEY.fullmatch(self.public_key):
            text = "is no Ed25519 public key: send its 32 bytes as base64url without padding, 43 characters"
            yield Violation(field="api_key.public_key", description=text)
        if self.public_key and self.scopes:
            text = "is for RPCs, which the certificate of a publisher does not call: leave it out"
            yield Violation(field="api_key.scopes", description=text)
        if self.event_source and not self.public_key:
            yield Violation(field="api_key.event_source", description="is for publishers: send a public_key with it")
        if len(self.event_source) > _MAX_SOURCE or not self.event_source.isprintable():
            text = f"is a ce_source: a URI of at most {_MAX_SOURCE} printable characters"
            yield Violation(field="api_key.event_source", description=text)
