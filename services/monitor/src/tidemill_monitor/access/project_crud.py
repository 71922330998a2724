"""Use cases: create, get, list, update and delete projects."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest, ResourceKey
from tidemill_core.resources import Write, copy_fields
from tidemill_monitor.access.domain.names import ADMIN, INSTALLATION_ADMIN, Limits
from tidemill_monitor.access.domain.project import Member, Project
from tidemill_monitor.access.grants import Lifetimes
from tidemill_monitor.access.ports import AllProjects, LegalHolds, Projects
from tidemill_monitor.errors import ProjectNotFound, ProjectsExhausted, UnderLegalHold

CHANGEABLE: Final = frozenset({"display_name", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCrud:
    """Of projects that a caller has no role in, it is not said whether they exist."""

    projects: Projects
    every: AllProjects
    clock: Clock
    limits: Limits
    lifetimes: Lifetimes
    max_projects: int
    holds: LegalHolds
    erase: Callable[[ResourceKey], None]

    async def get(self, caller: Caller, project: str) -> Project:
        """Return one project.

        Raises:
            ProjectNotFound: there is none, or it is another one than the caller's.

        """
        _check_visible(caller, project)
        return await self.projects.get(project, project)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Project]:
        """Return a page of all projects to an installation admin; to others their own."""
        if INSTALLATION_ADMIN in caller.roles:
            return await self.every.list(page)
        own = await self.projects.get_many(caller.project, [caller.project])
        return Page(items=list(own.values()))

    async def create(self, caller: Caller, project: Project, admin: str, write: Write) -> Project:
        """Return the new project, whose first admin is the given subject, or the caller.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken, or was.
            ProjectsExhausted: there are as many as there may be.

        """
        now = self.clock.now()
        fresh = replace(project, project=project.id, members=())
        fresh.check(self.limits)
        if admin or caller.subject:
            first = Member(subject=admin or caller.subject, roles=(ADMIN,))
            if admin or not _is_service(caller):
                first.check(self.limits)
                fresh.add(first, now=now)
        exists = await self.projects.get_many(fresh.id, [fresh.id])
        if not exists and await self.every.count(limit=self.max_projects) >= self.max_projects:
            raise ProjectsExhausted(self.max_projects, "MONITOR_MAX_PROJECTS")
        return await resources.create(self.projects, fresh, write)

    async def update(self, caller: Caller, given: Project, fields: frozenset[str], write: Write) -> Project:
        """Return the updated project.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            ProjectNotFound: there is none, or it is another one than the caller's.
            Conflict: it changed since the etag.

        """
        _check_visible(caller, given.id)

        def change(project: Project) -> None:
            project.check_active()
            copy_fields(given, project, fields)
            project.check(self.limits)

        return await resources.update(self.projects, given.id, given.id, change, write)

    async def delete(self, caller: Caller, project: str, write: Write) -> Project:
        """Return the project, which is marked for deletion: its credentials are revoked, and its data is erased.

        Raises:
            ProjectNotFound: there is none, or it is another one than the caller's.
            UnderLegalHold: something of it is under a legal hold.
            Conflict: it changed since the etag.

        """
        _check_visible(caller, project)
        if held := await self.holds.active(project):
            raise UnderLegalHold(held[0].id)
        now = self.clock.now()

        def change(found: Project) -> None:
            found.begin_deletion(caller.subject, now=now, lifetime=self.lifetimes.longest)

        deleted = await resources.update(self.projects, project, project, change, write)
        if not write.validate_only:
            self.erase(ResourceKey(project=project, id=project))
        return deleted


def _check_visible(caller: Caller, project: str) -> None:
    if project != caller.project and INSTALLATION_ADMIN not in caller.roles:
        raise ProjectNotFound(project)


def _is_service(caller: Caller) -> bool:
    """Return whether the caller is a program, which is no member of projects."""
    return not caller.subject.startswith("user:")
