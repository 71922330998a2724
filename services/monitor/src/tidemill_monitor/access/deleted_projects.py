"""What erasures, holds and retention need of projects."""

from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_monitor.access.domain.project import Deletion, Project, ProjectState
from tidemill_monitor.access.ports import Projects
from tidemill_monitor.errors import ProjectIsDeleted


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedProjects:
    """Implements `DeletedProjects` of erasures, `NotErased` of holds and `Active` of retention."""

    projects: Projects

    async def deletion(self, project: str) -> Deletion | None:
        """Return the deletion that is under way, None where there is none."""
        found = await self._find(project)
        if found is None or found.state is not ProjectState.DELETING:
            return None
        if found.deletion is None and found.update_time is not None:  # deleted before there were erasures
            return Deletion(time=found.update_time)
        return found.deletion

    async def check_active(self, project: str) -> None:
        """Refuse what a project that was deleted has no use for.

        Raises:
            ProjectIsDeleted: it was.

        """
        if found := await self._find(project):
            found.check_active()

    async def check_not_erased(self, project: str) -> None:
        """Refuse what concerns data of a project that has none left.

        Raises:
            ProjectIsDeleted: it was deleted, and is erased.

        """
        found = await self._find(project)
        if found is not None and found.state is ProjectState.DELETED:
            raise ProjectIsDeleted(project)

    async def finish(self, project: str) -> None:
        """Have a project that is being deleted be deleted; of another one nothing changes."""
        if await self._find(project):
            await self.projects.update(
                project, project, lambda found: found.finish_deletion(), request=Request.internal()
            )

    async def erase(self, project: str) -> int:
        """Remove what a deleted project had of its own, and return how many members that were."""
        erased = 0

        def change(found: Project) -> None:
            nonlocal erased
            erased = found.erase()

        if await self._find(project):
            await self.projects.update(project, project, change, request=Request.internal())
        return erased

    async def _find(self, project: str) -> Project | None:
        return (await self.projects.get_many(project, [project])).get(project)
