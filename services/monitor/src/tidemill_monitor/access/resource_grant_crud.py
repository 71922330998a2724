"""Use cases: share a resource with another project, list what is shared, and take it back."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.resources import Write
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.resource_grant import ResourceGrant, grant_id_of
from tidemill_monitor.access.grants import Grants
from tidemill_monitor.access.ports import Catalogue, KeyUses, ResourceGrants

_RESTORED: Final = frozenset({"description", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantOverview:
    """A grant, and when the other project last used it; None where that is not known."""

    grant: ResourceGrant
    last_use_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGrantCrud:
    """Whether there is such a resource is for its service to know, and whether such a project, for no other one."""

    resource_grants: ResourceGrants
    catalogue: Catalogue
    grants: Grants
    uses: KeyUses
    clock: Clock
    limits: Limits

    async def create(self, caller: Caller, given: ResourceGrant, write: Write) -> ResourceGrant:
        """Return the new grant.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the project has the resource already.

        """
        grant_id = grant_id_of(caller.project, given.kind, given.resource, given.grantee)
        fresh = replace(given, id=grant_id, project=caller.project)
        fresh.check(self.limits)
        await self.grants.active_project(caller.project)
        restore, now = resources.restored(fresh, _RESTORED), self.clock.now()

        def begin(stored: ResourceGrant) -> None:
            restore(stored)
            stored.record(revoked=False, now=now)

        return await resources.create(self.resource_grants, fresh, write, begin=begin)

    async def list(self, caller: Caller, page: PageRequest) -> Page[GrantOverview]:
        """Return a page of what the caller's project shares."""
        found = await self.resource_grants.list(caller.project, page=page)
        used = await self.uses.last(caller.project, [each.credential for each in found.items])
        items = [GrantOverview(grant=each, last_use_time=used.get(each.credential)) for each in found.items]
        return Page(items=items, next_token=found.next_token)

    async def list_catalogue(self, caller: Caller, page: PageRequest) -> Page[ResourceGrant]:
        """Return a page of what other projects share with the caller's."""
        return await self.catalogue.list(caller.project, page)

    async def revoke(self, caller: Caller, grant: str, write: Write) -> ResourceGrant:
        """Return the grant as it was.

        Raises:
            GrantNotFound: there is none.
            Conflict: it changed since the etag.

        """
        now = self.clock.now()
        return await resources.delete(
            self.resource_grants,
            caller.project,
            grant,
            write,
            change=lambda found: found.record(revoked=True, now=now),
        )

    async def revoke_received(self, project: str) -> int:
        """Revoke some of what other projects let a deleted one read, and return how many; 0 when none is left."""
        now = self.clock.now()

        def change(found: ResourceGrant) -> None:
            found.record(revoked=True, now=now)
            found.deleted = True

        page = await self.catalogue.list(project, PageRequest())
        while not page.items and page.next_token:  # all of deleted owners, whose grants go with these
            page = await self.catalogue.list(project, PageRequest(token=page.next_token))
        for each in page.items:
            await self.resource_grants.update(each.project, each.id, change, request=Request.internal())
        return len(page.items)
