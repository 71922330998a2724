"""A project with its members."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import derived_id
from tidemill_core.errors import Violation
from tidemill_core.grpc.context import PROJECT_FORM, PROJECT_SLUG
from tidemill_core.quotas import Quota
from tidemill_core.resources import check_etag, label_violations, refuse
from tidemill_monitor.access.domain.names import (
    ADMIN,
    Limits,
    loses,
    roles_violations,
    subject_violations,
    text_violations,
)
from tidemill_monitor.access.domain.revocations import MARGIN, CredentialKind, CredentialsWereRevoked, subject_revoked
from tidemill_monitor.errors import LastAdmin, MemberExists, MemberNotFound, ProjectIsDeleted

_REMOVED = 50
"""As many removed members are kept as an aggregate keeps requests, to answer a repeated one."""
_QUOTED = 80


class ProjectState(StrEnum):
    """Whether a project is in use."""

    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Roles of a person or a group; `version` counts its changes."""

    id: str = ""
    subject: str
    roles: tuple[str, ...]
    version: int = 1
    create_time: datetime | None = None
    update_time: datetime | None = None

    def check(self, limits: Limits) -> None:
        """Refuse what is no member.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(
            iter(
                [
                    *subject_violations("member.subject", self.subject),
                    *roles_violations("member.roles", self.roles, limit=limits.roles),
                ]
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """Who deleted a project, and when."""

    requester: str = ""
    time: datetime


@dataclass(slots=True, kw_only=True)
class Project(Aggregate):
    """Its members are within it, so that it keeps an admin however many change them at the same time."""

    display_name: str = ""
    state: ProjectState = ProjectState.ACTIVE
    members: tuple[Member, ...] = ()
    """In the order of their ids."""
    removed: tuple[Member, ...] = ()
    """The last ones that were removed."""
    revoked: dict[str, datetime] = field(default_factory=dict)
    """Names whose tokens were revoked, with the time up to which: as long as such tokens last."""
    deletion: Deletion | None = None

    def check(self, limits: Limits) -> None:
        """Validate what a user decides.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits))

    def _violations(self, limits: Limits) -> Iterator[Violation]:
        if not PROJECT_SLUG.fullmatch(self.id):
            yield Violation(field="project.id", description=f"is {self.id[:_QUOTED]!r}; use {PROJECT_FORM}")
        yield from label_violations("project.labels", self.labels)
        yield from text_violations("project.display_name", self.display_name, limit=limits.text_length)

    def check_active(self) -> None:
        """Refuse what a deleted project has no use for.

        Raises:
            ProjectIsDeleted: it is.

        """
        if self.state is not ProjectState.ACTIVE:
            raise ProjectIsDeleted(self.id)

    def member(self, member_id: str) -> Member:
        """Return one member.

        Raises:
            MemberNotFound: there is none.

        """
        found = next((each for each in self.members if each.id == member_id), None)
        if found is None:
            raise MemberNotFound(member_id)
        return found

    def add(self, member: Member, *, now: datetime, quota: Quota | None = None) -> None:
        """Add a member.

        Raises:
            MemberExists: its subject has roles already.
            QuotaReached: there are as many as there may be.

        """
        member_id = member_id_of(self.id, member.subject)
        if any(each.id == member_id for each in self.members):
            raise MemberExists(member.subject, member_id)
        if quota is not None:
            quota.check(self.id, len(self.members))
        added = replace(member, id=member_id, create_time=now, update_time=now)
        self.members = tuple(sorted((*self.members, added), key=lambda each: each.id))

    def change(self, member_id: str, roles: tuple[str, ...], *, etag: str, now: datetime, lifetime: timedelta) -> None:
        """Give a member other roles; tokens of those that it loses are revoked.

        Raises:
            MemberNotFound: there is none.
            Conflict: it changed since the etag.
            LastAdmin: no admin would be left.

        """
        before = self.member(member_id)
        check_etag(etag, before.version)
        if before.roles == roles:
            return
        after = replace(before, roles=roles, version=before.version + 1, update_time=now)
        self._keep_an_admin(before, after)
        self.members = tuple(after if each.id == member_id else each for each in self.members)
        if loses(before.roles, roles):
            self._revoke(before.subject, now=now, lifetime=lifetime)

    def remove(self, member_id: str, *, etag: str, now: datetime, lifetime: timedelta) -> None:
        """Remove a member and revoke its tokens.

        Raises:
            MemberNotFound: there is none.
            Conflict: it changed since the etag.
            LastAdmin: no admin would be left.

        """
        member = self.member(member_id)
        check_etag(etag, member.version)
        self._keep_an_admin(member, None)
        self.members = tuple(each for each in self.members if each.id != member_id)
        self.removed = (*self.removed, member)[-_REMOVED:]
        self._revoke(member.subject, now=now, lifetime=lifetime)

    def begin_deletion(self, requester: str = "", *, now: datetime, lifetime: timedelta) -> None:
        """Revoke all tokens for good, and have everything erased."""
        if self.state is not ProjectState.ACTIVE:
            return
        self.state = ProjectState.DELETING
        self.deletion = Deletion(requester=requester, time=now)
        self.pending.append(
            CredentialsWereRevoked(
                occurred_at=now,
                kind=CredentialKind.PROJECT,
                project=self.id,
                id=self.id,
                revoke_time=now + MARGIN,
                expire_time=now + 2 * MARGIN + lifetime,
            )
        )

    def erase(self) -> int:
        """Remove what the project had of its own, and return how many members that were; the id stays taken."""
        if self.state is ProjectState.ACTIVE:
            return 0
        members = len(self.members) + len(self.removed)
        self.members = self.removed = ()
        self.revoked, self.labels, self.display_name = {}, {}, ""
        return members

    def finish_deletion(self) -> None:
        """Have nothing left of a project that is being deleted."""
        if self.state is ProjectState.DELETING:
            self.erase()
            self.state = ProjectState.DELETED

    def _keep_an_admin(self, before: Member, after: Member | None) -> None:
        others = [each for each in self.members if each.id != before.id]
        left = [*others, *([after] if after is not None else [])]
        if ADMIN in before.roles and not any(ADMIN in each.roles for each in left):
            raise LastAdmin(before.subject, self.id)

    def _revoke(self, subject: str, *, now: datetime, lifetime: timedelta) -> None:
        event = subject_revoked(self.id, subject, now=now, lifetime=lifetime)
        kept = {name: until for name, until in self.revoked.items() if until + lifetime > now}
        self.revoked = kept | {subject: event.revoke_time}
        self.pending.append(event)


def member_id_of(project: str, subject: str) -> str:
    """Return the id of the member that a subject is."""
    return derived_id(project, "member", subject)
