"""Whether roles exist, what they amount to, and whether a project takes changes: what several use cases ask."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Aggregates, Caller
from tidemill_core.resources import Write, etag_of
from tidemill_monitor.access.domain.names import ADMIN, BUILT_IN, Limits, custom, rank
from tidemill_monitor.access.domain.project import Project
from tidemill_monitor.access.domain.tokens import Grant
from tidemill_monitor.access.ports import Projects, Roles
from tidemill_monitor.errors import GivesMoreThanHeld, HoldsMore, RoleUnknown, TokenTooLarge

A = TypeVar("A", bound=Aggregate)

MAX_KEY_LIFETIME = timedelta(days=365)
MAX_TOKEN_LIFETIME = timedelta(hours=1)
"""What the settings may say at most: revocations outlast tokens that were issued by higher settings than today's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long tokens last at most: API keys, what people get for a login, and what other issuers give them."""

    keys: timedelta
    tokens: timedelta
    of_others: timedelta = timedelta()

    @property
    def keys_revoked(self) -> timedelta:
        """How long a revocation of keys has to be known."""
        return max(self.keys, MAX_KEY_LIFETIME)

    @property
    def people_revoked(self) -> timedelta:
        """How long a revocation of people's tokens has to be known."""
        return max(self.tokens, self.of_others, MAX_TOKEN_LIFETIME)

    @property
    def longest(self) -> timedelta:
        """How long a revocation of either kind has to be known."""
        return max(self.keys_revoked, self.people_revoked)


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
        if rank(roles) > rank(caller.roles):
            raise GivesMoreThanHeld(what=f"the role {max(roles, key=lambda role: rank([role]))}")
        self.check_allowed(caller, [rpc for role in known.values() for rpc in role.permissions])

    @staticmethod
    def check_allowed(caller: Caller, rpcs: Sequence[str]) -> None:
        """Refuse RPCs that a caller below an admin gives without having them, and all that a scoped one gives.

        Raises:
            GivesMoreThanHeld: the caller may do less.

        """
        if caller.scopes is not None:
            raise GivesMoreThanHeld(what="rights with a credential that has scopes")
        lacking = sorted(set(rpcs) - caller.permissions)
        if lacking and rank(caller.roles) < rank([ADMIN]):
            raise GivesMoreThanHeld(what=lacking[0])

    async def guarded(  # noqa: PLR0913 - what is changed, and what it holds
        self,
        caller: Caller,
        resources: Aggregates[A],
        name: str,
        write: Write,
        *,
        roles: Callable[[A], Sequence[str]] = lambda _: (),
        rpcs: Callable[[A], Sequence[str]] = lambda _: (),
    ) -> Write:
        """Refuse a caller below an admin to change what holds more; return the write, of what was checked.

        Raises:
            HoldsMore: it does.

        """
        if self.may_change_all(caller):
            return write
        found = (await resources.get_many(caller.project, [name])).get(name)
        if found is None:
            return write
        await self.check_holder(caller, roles(found))
        _check_holds(caller, rpcs(found))
        return replace(write, etag=write.etag or etag_of(found.version))

    @staticmethod
    def may_change_all(caller: Caller) -> bool:
        """Return whether nothing in a project holds more."""
        return rank(caller.roles) >= rank([ADMIN])

    async def check_holder(self, caller: Caller, roles: Sequence[str]) -> None:
        """Refuse a caller below an admin to change who has roles that allow more.

        Raises:
            HoldsMore: they do.

        """
        if self.may_change_all(caller):
            return
        if rank(roles) > rank(caller.roles):
            raise HoldsMore(what=f"has the role {max(roles, key=lambda role: rank([role]))}")
        own = await self.roles.get_many(caller.project, custom(roles)) if custom(roles) else {}
        _check_holds(caller, [rpc for role in own.values() for rpc in role.permissions])

    async def of(self, project: str, roles: Iterable[str]) -> Grant:
        """Return what roles amount to; one that is gone allows nothing.

        Raises:
            TokenTooLarge: they are more roles, or allow more RPCs, than a token may carry.

        """
        given = tuple(dict.fromkeys(roles))
        if len(given) > self.limits.token_roles:
            raise TokenTooLarge(what="roles", size=len(given), limit=self.limits.token_roles)
        own = await self.roles.get_many(project, custom(given)) if custom(given) else {}
        permissions = tuple(sorted({rpc for role in own.values() for rpc in role.permissions}))
        if len(permissions) > self.limits.permissions:
            raise TokenTooLarge(what="RPCs", size=len(permissions), limit=self.limits.permissions)
        return Grant(
            roles=tuple(role for role in given if role in BUILT_IN or role in own),
            permissions=permissions,
            revoked=latest(role.revoked for role in own.values()),
        )


def _check_holds(caller: Caller, rpcs: Sequence[str]) -> None:
    if lacking := sorted(set(rpcs) - caller.permissions):
        raise HoldsMore(what=f"allows {lacking[0]}")


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the last of the moments that there are."""
    return max((each for each in moments if each is not None), default=None)
