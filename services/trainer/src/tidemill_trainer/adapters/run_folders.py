"""Working folders of runs on local disk: train split, checkpoints and adapter."""

import asyncio
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from tidemill_kit.models.manifest import ArtifactFile, Manifest
from tidemill_trainer.adapters.file_spool import disk_errors
from tidemill_trainer.application.ports import RunFolder, RunName


class RunFolders:
    """Implements `ports.Folders`: `<root>/<project>/<run>`, deleted `keep_s` after its last use."""

    def __init__(self, root: Path, *, keep_s: float) -> None:
        self._root = root
        self._keep_s = keep_s

    async def open(self, run: RunName) -> RunFolder:
        """See `Folders.open`."""
        folder = RunFolder(path=self._root / run.project / run.run)
        with disk_errors():
            await asyncio.to_thread(folder.path.mkdir, parents=True, exist_ok=True)
        return folder

    async def remove(self, run: RunName) -> None:
        """See `Folders.remove`."""
        await asyncio.to_thread(shutil.rmtree, self._root / run.project / run.run, ignore_errors=True)

    async def clean(self, run: RunName) -> None:
        """See `Folders.clean`."""
        await asyncio.to_thread(_clean, RunFolder(path=self._root / run.project / run.run))

    async def sweep(self, busy: Collection[RunName]) -> None:
        """See `Folders.sweep`."""
        await asyncio.to_thread(self._sweep, frozenset(busy))

    async def write_card(self, folder: RunFolder, text: str) -> None:
        """See `Folders.write_card`."""
        with disk_errors():
            await asyncio.to_thread((folder.adapter / "README.md").write_text, text, encoding="utf-8")

    async def adapter_files(self, folder: RunFolder) -> Sequence[ArtifactFile]:
        """See `Folders.adapter_files`."""
        return (await asyncio.to_thread(Manifest.from_folder, folder.adapter)).files

    def _sweep(self, busy: Collection[RunName]) -> None:
        used_since = time.time() - self._keep_s
        for path in self._root.glob("*/*"):
            if RunName(project=path.parent.name, run=path.name) in busy:
                continue
            if path.stat().st_mtime < used_since:
                shutil.rmtree(path, ignore_errors=True)
            else:
                _clean(RunFolder(path=path))


def _clean(folder: RunFolder) -> None:
    for path in folder.path.glob("*"):
        if path == folder.checkpoints:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
