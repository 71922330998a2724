"""The fact that tokens are no longer accepted."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tidemill_core.aggregate import Event

MARGIN = timedelta(seconds=5)
"""Tokens issued so long after a revocation are revoked too: another process may issue one by what it read before.

One that is issued by the newer state is dated after it, see `issued_after`.
"""
_STEP = timedelta(seconds=1)


class CredentialKind(StrEnum):
    """What a revocation names."""

    KEY = "key"
    SUBJECT = "subject"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsWereRevoked(Event):
    """Tokens are no longer accepted: one, those that carry a name, or all of a project."""

    kind: CredentialKind
    project: str
    id: str
    revoke_time: datetime
    expire_time: datetime

    @property
    def record_key(self) -> str:
        """The latest record of a key says all about what it names, so that the topic can be compacted."""
        return f"{self.kind}/{self.project}/{self.id}"


def subject_revoked(project: str, name: str, *, now: datetime, lifetime: timedelta) -> CredentialsWereRevoked:
    """Return the revocation of the tokens that carry a name and last `lifetime` at most."""
    return CredentialsWereRevoked(
        occurred_at=now,
        kind=CredentialKind.SUBJECT,
        project=project,
        id=name,
        revoke_time=now + MARGIN,
        expire_time=now + 2 * MARGIN + lifetime,
    )


def issued_after(now: datetime, *revoked: datetime | None) -> datetime:
    """Return when a token is issued that none of these revocations concerns."""
    return max([now, *(moment + _STEP for moment in revoked if moment is not None)]).replace(microsecond=0)
