"""What concerns the tokens of all projects."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_monitor.access.domain.names import ALL_PROJECTS
from tidemill_monitor.access.domain.revocations import CredentialKind, CredentialsWereRevoked, subject_revoked

ID = "installation"
LONGEST = timedelta(days=366)
"""Longer than any token lasts: those of people, of services, and of the installation's admin."""
_REMEMBERED = timedelta(hours=1)
"""New tokens are dated after a revocation for a few seconds; the rest is for clocks that differ."""


@dataclass(slots=True, kw_only=True)
class Installation(Aggregate):
    """There is one. It is where revocations come from that belong to no project."""

    id: str = ID
    project: str = ALL_PROJECTS
    revoked: dict[str, datetime] = field(default_factory=dict)
    """The last names whose tokens were revoked, with the time up to which."""

    def revoke_token(self, token_id: str, *, now: datetime) -> None:
        """Revoke one token, of whichever project."""
        event = CredentialsWereRevoked(
            occurred_at=now,
            kind=CredentialKind.KEY,
            project=ALL_PROJECTS,
            id=token_id,
            revoke_time=now,
            expire_time=now + LONGEST,
        )
        self.pending.append(event)

    def revoke_subject(self, subject: str, *, now: datetime) -> None:
        """Revoke all tokens that carry a name, and were issued so far."""
        event = subject_revoked(ALL_PROJECTS, subject, now=now, lifetime=LONGEST)
        kept = {name: until for name, until in self.revoked.items() if until + _REMEMBERED > now}
        self.revoked = kept | {subject: event.revoke_time}
        self.pending.append(event)
