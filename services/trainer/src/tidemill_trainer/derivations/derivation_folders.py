"""Working folders of derivations on local disk."""

import asyncio
import shutil
from pathlib import Path

from tidemill_core.application import ResourceKey
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_trainer.derivations.ports import DerivationFolder
from tidemill_trainer.disk import disk_errors


class DerivationFolders:
    """Implements `ports.Folders`: `<root>/<project>/<derivation>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Delete what a killed process left: nothing of it is used again."""
        shutil.rmtree(self._root, ignore_errors=True)

    async def open(self, derivation: ResourceKey) -> DerivationFolder:
        """See `Folders.open`."""
        await self.remove(derivation)
        folder = DerivationFolder(path=self._path(derivation))
        with disk_errors():
            await asyncio.to_thread(folder.path.mkdir, parents=True)
        return folder

    async def remove(self, derivation: ResourceKey) -> None:
        """See `Folders.remove`."""
        await asyncio.to_thread(shutil.rmtree, self._path(derivation), ignore_errors=True)

    async def write_card(self, folder: DerivationFolder, text: str) -> None:
        """See `Folders.write_card`."""
        with disk_errors():
            await asyncio.to_thread((folder.made / "README.md").write_text, text, encoding="utf-8")

    async def files(self, folder: DerivationFolder) -> tuple[ArtifactFile, ...]:
        """See `Folders.files`."""
        return tuple((await asyncio.to_thread(Manifest.from_folder, folder.made)).files)

    def _path(self, derivation: ResourceKey) -> Path:
        return self._root / derivation.project / derivation.id
