"""Use cases: create, get, list and release legal holds, and forget what released ones were about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.resources import Write, list_all
from tidemill_monitor.holds.domain import Hold, HoldState
from tidemill_monitor.holds.ports import Holds, Known, NotErased

_INSTALLATION_ADMIN = "installation_admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCrud:
    """Whether there is such an end user or document is not said; a hold may be there before it."""

    holds: Holds
    projects: NotErased
    clock: Clock
    known: Known

    async def create(self, caller: Caller, given: Hold, write: Write) -> Hold:
        """Return the new hold, as soon as it stands where every service reads it.

        Raises:
            DependencyUnavailable: that was not so in time; it is stored, and holds as soon as it does.
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.
            ProjectIsDeleted: nothing is left of the project.

        """
        fresh = replace(given, project=caller.project, creator=caller.subject)
        fresh.check()
        await self.projects.check_not_erased(caller.project)
        fresh.begin(now=self.clock.now())
        created = await resources.create(self.holds, fresh, write)
        if not write.validate_only and created.state is HoldState.ACTIVE:
            await self.known(created)
        return created

    async def get(self, caller: Caller, hold: str) -> Hold:
        """Return one hold.

        Raises:
            HoldNotFound: there is none.

        """
        return await self.holds.get(caller.project, hold)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Hold]:
        """Return a page of holds, released ones too."""
        return await self.holds.list(caller.project, page=page)

    async def release(self, caller: Caller, hold: str, write: Write) -> Hold:
        """Return the released hold.

        Raises:
            HoldNotFound: there is none.
            ReleaseByCreator: another admin has to release it.
            Conflict: it changed since the etag.

        """
        now, any_person = self.clock.now(), _INSTALLATION_ADMIN in caller.roles

        def change(found: Hold) -> None:
            found.release(caller.subject, any_person=any_person, now=now)

        return await resources.update(self.holds, caller.project, hold, change, write)

    async def active(self, project: str) -> Sequence[Hold]:
        """Return the holds of a project that are not released."""
        return [each async for each in list_all(self.holds, project, where={"state": HoldState.ACTIVE})]

    async def forget(self, project: str, *, end_user: str = "", document: str = "") -> int:
        """Remove from released holds whom and what they were about, of one subject or of all; return of how many."""
        forgotten, now = 0, self.clock.now()
        async for each in list_all(self.holds, project, where={"state": HoldState.RELEASED}):
            of_all = not (end_user or document)
            named = (end_user and each.end_user == end_user) or (document and each.document == document)
            if each.says_something and (of_all or named):
                await self.holds.update(
                    project, each.id, lambda found: found.forget(now=now), request=Request.internal()
                )
                forgotten += 1
        return forgotten
