"""Use cases: create, get, list, update and delete members, each as one change of their project."""

from dataclasses import dataclass, replace

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_core.quotas import Quota
from tidemill_core.resources import Write, etag_of
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.project import Member, Project, member_id_of
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.ports import Projects
from tidemill_monitor.errors import MemberNotFound

CHANGEABLE = frozenset({"roles"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCrud:
    """A project keeps an admin, however many change its members at the same time."""

    projects: Projects
    grants: Grants
    clock: Clock
    limits: Limits
    quota: Quota
    lifetimes: Lifetimes

    async def get(self, caller: Caller, member: str) -> Member:
        """Return one member.

        Raises:
            ProjectNotFound, MemberNotFound: there is none.

        """
        return (await self._project(caller)).member(member)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Member]:
        """Return a page, in the order of ids."""
        project = await self._project(caller)
        size, digest = checked_size(page), list_digest(project.id, {"list": "members"}, show_deleted=False)
        place = place_of(page.token, digest=digest)
        left = [each for each in project.members if place is None or each.id > place.id]
        token = ""
        if len(left) > size:
            last = left[size - 1]
            token = token_after(Place(last.create_time or self.clock.now(), last.id), digest=digest)
        return Page(items=left[:size], next_token=token)

    async def create(self, caller: Caller, member: Member, write: Write) -> Member:
        """Return the new member.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: the roles allow more than the caller may do.
            MemberExists: its subject has roles already.
            QuotaReached: there are as many as there may be.

        """
        member.check(self.limits)
        await self.grants.check_given(caller, "member.roles", member.roles)
        now = self.clock.now()

        def change(project: Project) -> None:
            project.check_active()
            project.add(member, now=now, quota=self.quota)

        saved = await resources.update(self.projects, caller.project, caller.project, change, _any_version(write))
        return saved.member(member_id_of(caller.project, member.subject))

    async def update(self, caller: Caller, given: Member, write: Write) -> Member:
        """Return the member with its new roles; tokens of those that it loses are revoked.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: the roles allow more than the caller may do.
            HoldsMore: the member may do more than the caller.
            MemberNotFound: there is none.
            Conflict: it changed since the etag.
            LastAdmin: no admin would be left.

        """
        known = await self.get(caller, given.id)
        replace(known, roles=given.roles).check(self.limits)
        await self.grants.check_given(caller, "member.roles", given.roles)
        write = await self._guarded(caller, given.id, write)
        now, lifetime = self.clock.now(), self.lifetimes.people_revoked

        def change(project: Project) -> None:
            project.check_active()
            project.change(given.id, given.roles, etag=write.etag, now=now, lifetime=lifetime)

        saved = await resources.update(self.projects, caller.project, caller.project, change, _any_version(write))
        return saved.member(given.id)

    async def delete(self, caller: Caller, member: str, write: Write) -> Member:
        """Return the member as it was; its tokens are revoked.

        Raises:
            HoldsMore: the member may do more than the caller.
            MemberNotFound: there is none.
            Conflict: it changed since the etag.
            LastAdmin: no admin would be left.

        """
        write = await self._guarded(caller, member, write)
        now, lifetime = self.clock.now(), self.lifetimes.people_revoked

        def change(project: Project) -> None:
            project.remove(member, etag=write.etag, now=now, lifetime=lifetime)

        saved = await resources.update(self.projects, caller.project, caller.project, change, _any_version(write))
        removed = next((each for each in reversed(saved.removed) if each.id == member), None)
        if removed is None:  # this request was repeated when many others had been removed
            raise MemberNotFound(member)
        return removed

    async def _guarded(self, caller: Caller, member: str, write: Write) -> Write:
        """Return the write on the member that was checked, where the caller may not change every one."""
        if self.grants.may_change_all(caller):
            return write
        found = next((each for each in (await self._project(caller)).members if each.id == member), None)
        if found is None:
            return write
        await self.grants.check_holder(caller, found.roles)
        return replace(write, etag=write.etag or etag_of(found.version))

    async def _project(self, caller: Caller) -> Project:
        return await self.projects.get(caller.project, caller.project)


def _any_version(write: Write) -> Write:
    """Return the write on the project, of which other members may have changed; the member's etag is its own."""
    return replace(write, etag="")
