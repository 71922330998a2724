"""Use cases: get, list, revoke and delete API keys; `issue_key` creates them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_monitor.access.domain.api_key import ApiKey, ApiKeyState
from tidemill_monitor.access.domain.names import custom
from tidemill_monitor.access.domain.project import ProjectState
from tidemill_monitor.access.grants import Grants, latest
from tidemill_monitor.access.ports import ApiKeys, KeyUses, Projects, RevokedCredentials, Roles, ServiceAccounts

_ALL_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOverview:
    """A key, and whether it is accepted."""

    key: ApiKey
    state: ApiKeyState
    last_use_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCrud:
    """A revoked key stays until it is deleted, so that logs that name it can be understood."""

    api_keys: ApiKeys
    projects: Projects
    service_accounts: ServiceAccounts
    roles: Roles
    grants: Grants
    uses: KeyUses
    revoked: RevokedCredentials
    clock: Clock

    async def get(self, caller: Caller, key: str) -> KeyOverview:
        """Return one key.

        Raises:
            ApiKeyNotFound: the caller's project has none with this id.

        """
        return await self._overview(caller, await self.api_keys.get(caller.project, key))

    async def list(self, caller: Caller, page: PageRequest) -> Page[KeyOverview]:
        """Return a page."""
        found = await self.api_keys.list(caller.project, page=page)
        return Page(items=await self.overviews(caller, found.items), next_token=found.next_token)

    async def revoke(self, caller: Caller, key: str, write: Write) -> KeyOverview:
        """Return the revoked key; revoking it again changes nothing.

        Raises:
            HoldsMore: the key may do more than the caller.
            ApiKeyNotFound: there is none.

        """
        now, write = self.clock.now(), await self._guarded(caller, key, write)
        revoked = await resources.update(self.api_keys, caller.project, key, lambda found: found.revoke(now=now), write)
        return await self._overview(caller, revoked)

    async def delete(self, caller: Caller, key: str, write: Write) -> KeyOverview:
        """Return the deleted key, which is revoked too.

        Raises:
            HoldsMore: the key may do more than the caller.
            ApiKeyNotFound: there is none.
            Conflict: it changed since the etag.

        """
        now, write = self.clock.now(), await self._guarded(caller, key, write)
        deleted = await resources.delete(
            self.api_keys, caller.project, key, write, change=lambda found: found.revoke(now=now)
        )
        return await self._overview(caller, deleted)

    async def overviews(self, caller: Caller, keys: Sequence[ApiKey]) -> Sequence[KeyOverview]:
        """Return keys with their states, which depend on their accounts, roles and project."""
        project = (await self.projects.get_many(caller.project, [caller.project])).get(caller.project)
        accounts = await self.service_accounts.get_many(caller.project, [*{key.service_account for key in keys}])
        roles = await self.roles.get_many(caller.project, [*{role for key in keys for role in custom(key.roles)}])
        now = self.clock.now()

        def state(key: ApiKey) -> ApiKeyState:
            own = custom(key.roles)
            account = accounts.get(key.service_account)
            if self.revoked.revoked(caller.project, key.credential):
                return ApiKeyState.REVOKED
            gone = project is None or project.state is not ProjectState.ACTIVE or account is None
            if gone or any(role not in roles for role in own):
                return key.state(now=now, revoked=_ALL_TIME)
            moments = [each.revoked for each in (account, *(roles[role] for role in own)) if each is not None]
            return key.state(now=now, revoked=latest(moments))

        used = await self.uses.last(caller.project, [key.credential for key in keys])
        return [KeyOverview(key=key, state=state(key), last_use_time=used.get(key.credential)) for key in keys]

    async def _guarded(self, caller: Caller, key: str, write: Write) -> Write:
        return await self.grants.guarded(caller, self.api_keys, key, write, roles=lambda found: found.roles)

    async def _overview(self, caller: Caller, key: ApiKey) -> KeyOverview:
        (overview,) = await self.overviews(caller, [key])
        return overview
