"""What the disks of a service's machines have of a project: a step for this one, and a sweep for those of others."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import check_slug
from tidemill_kit.erasure.steps import Step, Target

SWEEP_EVERY_S = 30.0

_log = structlog.get_logger()


def erase_folder(root: Path, project: str) -> int:
    """Remove `<root>/<project>`, and return how many entries it had; 0 when there is none. Blocks.

    Raises:
        DependencyUnavailable: some of it is still there, because the disk refuses it or it is written just now.

    """
    check_slug("project", project)
    folder = root / project
    try:
        entries = sum(1 for _ in folder.iterdir())
    except FileNotFoundError:
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        message = "a folder of a project to be erased cannot be removed: check the permissions of the data folder"
        raise DependencyUnavailable(message, dependency="disk")
    return max(entries, 1)


def folders(kind: str, *roots: Path, covers: tuple[str, ...] = ()) -> Step:
    """Return the step that removes `<root>/<project>` of each of these folders on this machine.

    `covers` names the setting of the folder that they are in, `folder:data_dir`, once no other is left out.
    """

    async def erase(target: Target) -> int:
        return sum([await asyncio.to_thread(erase_folder, root, target.project) for root in roots])

    return Step(kind=kind, erase=erase, covers=covers)


async def sweep_folders(
    roots: Sequence[Path],
    *,
    deleted: Callable[[str], bool],
    spares: Callable[[str], bool],
    every_s: float = SWEEP_EVERY_S,
) -> None:
    """Remove what deleted projects have on this machine, at the start and periodically, until cancelled.

    The step of an erasure is done by one process, which cannot reach the disks of others. `spares` says that nothing
    of a project may be removed now.
    """
    while True:
        for root in roots:
            names = await asyncio.to_thread(lambda root: [each.name for each in root.glob("*") if each.is_dir()], root)
            for project in names:
                if deleted(project) and not spares(project):
                    await _sweep(root, project)
        await asyncio.sleep(every_s)


async def _sweep(root: Path, project: str) -> None:
    try:
        if await asyncio.to_thread(erase_folder, root, project):
            _log.info("folder_of_deleted_project_removed", project=project, folder=root.name)
    except DependencyUnavailable as error:
        _log.warning("folder_of_deleted_project_not_removed", project=project, folder=root.name, why=error.message)
