"""A named set of RPCs."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_monitor.access.domain.names import RESERVED, ROLE, Limits, rpc_violations, text_violations
from tidemill_monitor.access.domain.revocations import subject_revoked


@dataclass(slots=True, kw_only=True)
class Role(Aggregate):
    """A project's own role, beside the built-in ones."""

    description: str = ""
    permissions: tuple[str, ...] = ()
    revoked: datetime | None = None
    """Tokens with this role that were issued until then are revoked; kept when the id is taken again."""

    def check(self, limits: Limits, *, known: Collection[str]) -> None:
        """Validate all fields.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits, known))

    def _violations(self, limits: Limits, known: Collection[str]) -> Iterator[Violation]:
        yield from slug_violations("role.id", self.id)
        if self.id in RESERVED:
            yield Violation(field="role.id", description=f"is {self.id!r}, a built-in role: choose another name")
        yield from label_violations("role.labels", self.labels)
        yield from text_violations("role.description", self.description, limit=limits.text_length)
        yield from rpc_violations("role.permissions", self.permissions, least=1, limit=limits.permissions, known=known)

    def revoke_unless_kept(self, before: tuple[str, ...], *, now: datetime, lifetime: timedelta) -> None:
        """Revoke the tokens with this role if it allowed RPCs that it allows no longer."""
        if set(before) - set(self.permissions):
            self.revoke(now=now, lifetime=lifetime)

    def revoke(self, *, now: datetime, lifetime: timedelta) -> None:
        """Revoke all tokens with this role."""
        event = subject_revoked(self.project, f"{ROLE}{self.id}", now=now, lifetime=lifetime)
        self.revoked = event.revoke_time
        self.pending.append(event)
