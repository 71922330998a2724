"""Whether roles exist, what they amount to, and whether a project takes changes: what several use cases ask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import Caller
from tidemill_monitor.access.domain.names import ADMIN, BUILT_IN, Limits, custom, rank
from tidemill_monitor.access.domain.project import Project
from tidemill_monitor.access.domain.tokens import Grant
from tidemill_monitor.access.ports import Projects, Roles
from tidemill_monitor.errors import GivesMoreThanHeld, RoleUnknown, TokenTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long tokens last at most: API keys, and what people get for a login."""

    keys: timedelta
    tokens: timedelta

    @property
    def longest(self) -> timedelta:
        """Of either kind."""
        return max(self.keys, self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """Reads projects and roles."""

    projects: Projects
    roles: Roles
    limits: Limits

    async def active_project(self, project: str) -> Project:
        """Return a project that takes changes.

        Raises:
            ProjectNotFound: there is none.
            ProjectIsDeleted: it is being deleted.

        """
        found = await self.projects.get(project, project)
        found.check_active()
        return found

    async def check_given(self, caller: Caller, field: str, roles: Sequence[str]) -> None:
        """Refuse roles that there are not, and those that allow more than the caller may do.

        Raises:
            RoleUnknown: names them.
            GivesMoreThanHeld: the caller may do less.

        """
        own = custom(roles)
        known = await self.roles.get_many(caller.project, own) if own else {}
        if missing := [role for role in own if role not in known]:
            raise RoleUnknown(field, missing, built_in=BUILT_IN)
        if caller.subject and rank(roles) > rank(caller.roles):
            raise GivesMoreThanHeld(what=f"the role {max(roles, key=lambda role: rank([role]))}")
        self.check_allowed(caller, [rpc for role in known.values() for rpc in role.permissions])

    @staticmethod
    def check_allowed(caller: Caller, rpcs: Sequence[str]) -> None:
        """Refuse RPCs that a caller below an admin gives without having them, and all that a scoped one gives.

        Without a subject no credentials are demanded here, and all callers may do all.

        Raises:
            GivesMoreThanHeld: the caller may do less.

        """
        if caller.subject and caller.scopes is not None:
            raise GivesMoreThanHeld(what="rights with a credential that has scopes")
        lacking = sorted(set(rpcs) - caller.permissions)
        if caller.subject and lacking and rank(caller.roles) < rank([ADMIN]):
            raise GivesMoreThanHeld(what=lacking[0])

    async def of(self, project: str, roles: Iterable[str]) -> Grant:
        """Return what roles amount to; one that is gone allows nothing.

        Raises:
            TokenTooLarge: they allow more RPCs than a token may carry.

        """
        given = tuple(dict.fromkeys(roles))
        own = await self.roles.get_many(project, custom(given)) if custom(given) else {}
        permissions = tuple(sorted({rpc for role in own.values() for rpc in role.permissions}))
        if len(permissions) > self.limits.permissions:
            raise TokenTooLarge(what="RPCs", size=len(permissions), limit=self.limits.permissions)
        return Grant(
            roles=tuple(role for role in given if role in BUILT_IN or role in own),
            permissions=permissions,
            revoked=latest(role.revoked for role in own.values()),
        )


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the last of the moments that there are."""
    return max((each for each in moments if each is not None), default=None)
