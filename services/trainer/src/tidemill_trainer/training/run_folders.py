"""Working folders of runs on local disk: train split, checkpoints and what was trained."""

import asyncio
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tidemill_core.application import ResourceKey
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_trainer.disk import disk_errors
from tidemill_trainer.training.ports import RunFolder


class RunFolders:
    """Implements `ports.Folders`: `<root>/<project>/<run>`, deleted `keep_s` after its last use.

    `keep_of` is what a project has set in its place; nothing of a project that `spares` names is deleted by its age.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_s: float,
        keep_of: Callable[[str], timedelta | None] = lambda _: None,
        spares: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._root = root
        self._keep_s = keep_s
        self._keep_of = keep_of
        self._spares = spares
        self._turn = asyncio.Lock()
        """Held while a folder is opened or swept, so that none is swept once it is in use."""

    async def open(self, run: ResourceKey) -> RunFolder:
        """See `Folders.open`."""
        folder = RunFolder(path=self._root / run.project / run.id)
        async with self._turn:
            with disk_errors():
                await asyncio.to_thread(folder.path.mkdir, parents=True, exist_ok=True)
        return folder

    async def remove(self, run: ResourceKey) -> None:
        """See `Folders.remove`."""
        await asyncio.to_thread(shutil.rmtree, self._root / run.project / run.id, ignore_errors=True)

    async def clean(self, run: ResourceKey) -> None:
        """See `Folders.clean`."""
        await asyncio.to_thread(_clean, RunFolder(path=self._root / run.project / run.id))

    async def found(self) -> Sequence[ResourceKey]:
        """See `Folders.found`."""
        paths = await asyncio.to_thread(lambda: list(self._root.glob("*/*")))
        return [ResourceKey(project=path.parent.name, id=path.name) for path in paths]

    async def sweep(self, busy: Callable[[], Collection[ResourceKey]]) -> None:
        """See `Folders.sweep`."""
        for run in await self.found():
            async with self._turn:
                if run not in busy():
                    await asyncio.to_thread(self._sweep, run)

    async def write_card(self, folder: RunFolder, text: str) -> None:
        """See `Folders.write_card`."""
        with disk_errors():
            await asyncio.to_thread((folder.made / "README.md").write_text, text, encoding="utf-8")

    async def made_files(self, folder: RunFolder) -> Sequence[ArtifactFile]:
        """See `Folders.made_files`."""
        return (await asyncio.to_thread(Manifest.from_folder, folder.made)).files

    def _sweep(self, run: ResourceKey) -> None:
        path = self._root / run.project / run.id
        own = self._keep_of(run.project)
        keep_s = self._keep_s if own is None else own.total_seconds()
        with suppress(FileNotFoundError):  # its run has finished meanwhile
            if path.stat().st_mtime < time.time() - keep_s and not self._spares(run.project):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _clean(RunFolder(path=path))


def _clean(folder: RunFolder) -> None:
    for path in folder.path.glob("*"):
        if path in {folder.checkpoints, folder.judged}:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
