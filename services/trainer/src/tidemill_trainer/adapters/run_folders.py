"""Folders of runs on local disk: the train part, checkpoints and the adapter."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from tidemill_kit.manifest import ArtifactFile, Manifest
from tidemill_trainer.adapters.file_spool import disk_errors
from tidemill_trainer.application.ports import RunFolder, RunName


class RunFolders:
    """Implements `ports.Folders`: `<root>/<project>/<run>`, of this process alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def open(self, run: RunName) -> RunFolder:
        """See `Folders.open`."""
        folder = RunFolder(path=self._root / run.project / run.run)
        with disk_errors():
            await asyncio.to_thread(folder.path.mkdir, parents=True, exist_ok=True)
        return folder

    async def remove(self, run: RunName) -> None:
        """See `Folders.remove`."""
        await asyncio.to_thread(shutil.rmtree, self._root / run.project / run.run, ignore_errors=True)

    async def write_card(self, folder: RunFolder, text: str) -> None:
        """See `Folders.write_card`."""
        with disk_errors():
            await asyncio.to_thread((folder.adapter / "README.md").write_text, text, encoding="utf-8")

    async def adapter_files(self, folder: RunFolder) -> Sequence[ArtifactFile]:
        """See `Folders.adapter_files`."""
        return (await asyncio.to_thread(Manifest.from_folder, folder.adapter)).files
