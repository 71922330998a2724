"""Use cases: create, get, list, update and delete service accounts."""

from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write, copy_fields
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.ports import ServiceAccounts

CHANGEABLE: Final = frozenset({"description", "labels", "roles"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountCrud:
    """API keys of an account that loses roles, or is deleted, are revoked with that change."""

    service_accounts: ServiceAccounts
    grants: Grants
    clock: Clock
    limits: Limits
    lifetimes: Lifetimes

    async def get(self, caller: Caller, account: str) -> ServiceAccount:
        """Return one service account.

        Raises:
            ServiceAccountNotFound: the caller's project has none with this id.

        """
        return await self.service_accounts.get(caller.project, account)

    async def list(self, caller: Caller, page: PageRequest) -> Page[ServiceAccount]:
        """Return a page."""
        return await self.service_accounts.list(caller.project, page=page)

    async def create(self, caller: Caller, account: ServiceAccount, write: Write) -> ServiceAccount:
        """Return the new service account; keys of a deleted one with this id stay revoked.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: the roles allow more than the caller may do.
            AlreadyExists: the id is taken.

        """
        fresh = replace(account, project=caller.project, revoked=None)
        fresh.check(self.limits)
        await self.grants.active_project(caller.project)
        await self.grants.check_given(caller, "service_account.roles", fresh.roles)
        return await resources.create(self.service_accounts, fresh, write, begin=resources.restored(fresh, CHANGEABLE))

    async def update(
        self, caller: Caller, given: ServiceAccount, fields: frozenset[str], write: Write
    ) -> ServiceAccount:
        """Return the updated service account.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GivesMoreThanHeld: the roles allow more than the caller may do.
            HoldsMore: the account may do more than the caller.
            ServiceAccountNotFound: there is none.
            Conflict: it changed since the etag.

        """
        await self.grants.active_project(caller.project)
        if "roles" in fields:
            await self.grants.check_given(caller, "service_account.roles", given.roles)
            write = await self._guarded(caller, given.id, write)
        now, lifetime = self.clock.now(), self.lifetimes.keys_revoked

        def change(account: ServiceAccount) -> None:
            before = account.roles
            copy_fields(given, account, fields)
            account.check(self.limits)
            account.revoke_unless_kept(before, now=now, lifetime=lifetime)

        return await resources.update(self.service_accounts, caller.project, given.id, change, write)

    async def delete(self, caller: Caller, account: str, write: Write) -> ServiceAccount:
        """Return the deleted service account; its keys are revoked.

        Raises:
            HoldsMore: the account may do more than the caller.
            ServiceAccountNotFound: there is none.
            Conflict: it changed since the etag.

        """
        write = await self._guarded(caller, account, write)
        now, lifetime = self.clock.now(), self.lifetimes.keys_revoked
        return await resources.delete(
            self.service_accounts,
            caller.project,
            account,
            write,
            change=lambda found: found.revoke(now=now, lifetime=lifetime),
        )

    async def _guarded(self, caller: Caller, account: str, write: Write) -> Write:
        return await self.grants.guarded(caller, self.service_accounts, account, write, roles=lambda found: found.roles)
