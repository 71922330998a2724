"""The identity of a program."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_monitor.access.domain.names import SERVICE_ACCOUNT, Limits, loses, roles_violations, text_violations
from tidemill_monitor.access.domain.revocations import subject_revoked


@dataclass(slots=True, kw_only=True)
class ServiceAccount(Aggregate):
    """Its API keys have its roles."""

    description: str = ""
    roles: tuple[str, ...] = ()
    revoked: datetime | None = None
    """Keys issued until then are revoked; kept when the id is taken again after a deletion."""

    @property
    def subject(self) -> str:
        """The subject of its tokens."""
        return f"{SERVICE_ACCOUNT}{self.id}"

    def check(self, limits: Limits) -> None:
        """Validate all fields.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits))

    def _violations(self, limits: Limits) -> Iterator[Violation]:
        yield from slug_violations("service_account.id", self.id)
        yield from label_violations("service_account.labels", self.labels)
        yield from text_violations("service_account.description", self.description, limit=limits.text_length)
        yield from roles_violations("service_account.roles", self.roles, limit=limits.roles)

    def revoke_unless_kept(self, before: tuple[str, ...], *, now: datetime, lifetime: timedelta) -> None:
        """Revoke the keys if the account had roles that it has no longer."""
        if loses(before, self.roles):
            self.revoke(now=now, lifetime=lifetime)

    def revoke(self, *, now: datetime, lifetime: timedelta) -> None:
        """Revoke all its keys."""
        event = subject_revoked(self.project, self.subject, now=now, lifetime=lifetime)
        self.revoked = event.revoke_time
        self.pending.append(event)
