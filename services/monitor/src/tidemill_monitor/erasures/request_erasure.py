"""Use case: request an erasure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import Violation
from tidemill_core.resources import Write, line_violations, refuse
from tidemill_monitor.erasures.domain.erasure import Erasure, ErasureScope, Subject
from tidemill_monitor.erasures.ports import DeletedProjects, Erasures, LegalHolds
from tidemill_monitor.errors import UnderLegalHold

_MAX_ID = 512


class _CompletedBefore(Exception):
    """This erasure of the subject is completed: what came since is for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestErasure:
    """Whether there is such a subject is known to the services; of one that is not there nothing is erased."""

    erasures: Erasures
    holds: LegalHolds
    projects: DeletedProjects
    clock: Clock
    due: timedelta

    async def __call__(self, caller: Caller, *, end_user: str, document: str, write: Write) -> Erasure:
        """Return the erasure of an end user or document: the one that is running, or a new one.

        Raises:
            InvalidInput: not one of both is named.
            UnderLegalHold: it is under a legal hold.

        """
        refuse(_violations(end_user, document))
        for hold in await self.holds.active(caller.project):
            if hold.covers(end_user=end_user, document=document):
                raise UnderLegalHold(hold.id)
        scope = ErasureScope.END_USER if end_user else ErasureScope.DOCUMENT
        subject = Subject(project=caller.project, scope=scope, id=end_user or document)
        number = 0
        while True:
            fresh = Erasure.requested(
                subject, number=number, requester=caller.subject, request_time=self.clock.now(), due=self.due
            )
            try:
                return await self._begin(fresh, write)
            except _CompletedBefore:
                number += 1

    async def of_project(self, key: ResourceKey) -> None:
        """Request the erasure of a project that is being deleted; repeating it changes nothing.

        A hold that came with the deletion does not stop this: services wait for its release.
        """
        deletion = await self.projects.deletion(key.project)
        if deletion is None:
            return
        fresh = Erasure.requested(
            Subject(project=key.project, scope=ErasureScope.PROJECT),
            number=0,
            requester=deletion.requester,
            request_time=deletion.time,
            due=self.due,
        )
        await self.erasures.upsert(fresh, lambda _: None, request=Request.internal())

    async def _begin(self, fresh: Erasure, write: Write) -> Erasure:
        if write.validate_only:
            found = (await self.erasures.get_many(fresh.project, [fresh.id])).get(fresh.id, fresh)
            _check_running(found)
            return found
        return await self.erasures.upsert(fresh, _check_running, request=write.request)


def _check_running(erasure: Erasure) -> None:
    if erasure.completed:
        raise _CompletedBefore


def _violations(end_user: str, document: str) -> Iterator[Violation]:
    if bool(end_user) == bool(document):
        both = "are both set" if end_user else "are both empty"
        yield Violation("end_user", f"and document {both}: set the one that is to be erased")
    for field, value in (("end_user", end_user), ("document", document)):
        yield from line_violations(field, value, limit=_MAX_ID)
