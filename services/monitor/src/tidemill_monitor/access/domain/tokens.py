"""What a token says, and what roles amount to."""

from dataclasses import dataclass
from datetime import datetime

TOKEN_BYTES = 8 * 1024
"""The largest token that services accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Roles with the RPCs that they allow by themselves; `revoked` is when the latest of them lost some."""

    roles: tuple[str, ...]
    permissions: tuple[str, ...] = ()
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What is signed. `scopes` empty is no restriction."""

    subject: str
    project: str
    roles: tuple[str, ...]
    groups: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    credential: str
    issue_time: datetime
    expire_time: datetime
    public_key: str = ""
    """Makes it the certificate of a publisher, which no API takes."""
    event_source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person, as the identity provider's token says."""

    name: str
    groups: tuple[str, ...] = ()
