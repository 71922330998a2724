"""Use cases: create, get, list, update and delete a project's own roles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write, copy_fields
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.ports import Projects, Roles, Rpcs, ServiceAccounts
from tidemill_monitor.errors import RoleInUse

CHANGEABLE: Final = frozenset({"description", "labels", "permissions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCrud:
    """Tokens carry the RPCs that a role allowed when they were issued, so taking some away revokes them."""

    roles: Roles
    projects: Projects
    service_accounts: ServiceAccounts
    grants: Grants
    rpcs: Rpcs
    clock: Clock
    limits: Limits
    lifetimes: Lifetimes

    async def get(self, caller: Caller, role: str) -> Role:
        """Return one role.

        Raises:
            RoleNotFound: the caller's project has none with this id.

        """
        return await self.roles.get(caller.project, role)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Role]:
        """Return a page."""
        return await self.roles.list(caller.project, page=page)

    async def create(self, caller: Caller, role: Role, write: Write) -> Role:
        """Return the new role; tokens with a deleted one of this id stay revoked.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: it allows more than the caller may do.
            AlreadyExists: the id is taken.

        """
        fresh = replace(role, project=caller.project, revoked=None, permissions=_sorted(role))
        fresh.check(self.limits, known=self.rpcs)
        self.grants.check_allowed(caller, fresh.permissions)
        await self.grants.active_project(caller.project)
        return await resources.create(self.roles, fresh, write, begin=resources.restored(fresh, CHANGEABLE))

    async def update(self, caller: Caller, given: Role, fields: frozenset[str], write: Write) -> Role:
        """Return the updated role.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: it allows more than the caller may do.
            HoldsMore: it did so before.
            RoleNotFound: there is none.
            Conflict: it changed since the etag.

        """
        await self.grants.active_project(caller.project)
        given = replace(given, permissions=_sorted(given))
        if "permissions" in fields:
            self.grants.check_allowed(caller, given.permissions)
            write = await self._guarded(caller, given.id, write)
        now, lifetime = self.clock.now(), self.lifetimes.longest

        def change(role: Role) -> None:
            before = role.permissions
            copy_fields(given, role, fields)
            role.check(self.limits, known=self.rpcs)
            role.revoke_unless_kept(before, now=now, lifetime=lifetime)

        return await resources.update(self.roles, caller.project, given.id, change, write)

    async def delete(self, caller: Caller, role: str, write: Write) -> Role:
        """Return the deleted role.

        Raises:
            HoldsMore: it allows more than the caller may do.
            RoleNotFound: there is none.
            RoleInUse: members or service accounts have it.
            Conflict: it changed since the etag.

        """
        holders = await self._holders(caller, role)
        write = await self._guarded(caller, role, write)
        now, lifetime = self.clock.now(), self.lifetimes.longest

        def change(found: Role) -> None:
            if holders:
                raise RoleInUse(role, holders)
            # One that was given to an account meanwhile allows nothing: what it has issued by then is revoked.
            found.revoke(now=now, lifetime=lifetime)

        return await resources.delete(self.roles, caller.project, role, write, change=change)

    async def _guarded(self, caller: Caller, role: str, write: Write) -> Write:
        return await self.grants.guarded(caller, self.roles, role, write, rpcs=lambda found: found.permissions)

    async def _holders(self, caller: Caller, role: str) -> Sequence[str]:
        """Return who has a role, by a scan: projects have few accounts."""
        projects = await self.projects.get_many(caller.project, [caller.project])
        members = [each.subject for project in projects.values() for each in project.members if role in each.roles]
        accounts = resources.list_all(self.service_accounts, caller.project)
        return [*members, *[each.subject async for each in accounts if role in each.roles]]


def _sorted(role: Role) -> tuple[str, ...]:
    return tuple(sorted(set(role.permissions)))
