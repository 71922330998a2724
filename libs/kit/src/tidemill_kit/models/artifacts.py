"""Artifacts on this machine's disk: downloaded once, verified before every load."""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest
from tidemill_kit.store.objects import ExchangeBucket

_LOCK_POLL_S = 0.1
_SPARE_BYTES = 64 * 1024 * 1024


class ArtifactCache:
    """Folders `<root>/<project>/<digest>` that processes of this machine share; one is there whole or not at all."""

    def __init__(self, root: Path, store: ExchangeBucket) -> None:
        self._root = root
        self._store = store

    async def fetch(self, project: str, manifest: Manifest, objects: Mapping[str, ObjectRef]) -> Path:
        """Return a folder that holds exactly the manifest's files; every byte was compared in this call.

        Raises:
            ArtifactRefused: a file is damaged, missing or added, or its object is another one.
            ObjectMissing: an object was erased.
            DependencyUnavailable: the store does not answer, or the disk is full.

        """
        _check_objects(project, manifest, objects)
        folder = self._root / project / manifest.digest
        if not folder.exists():
            async with _locked(folder.with_suffix(".lock")):
                if not folder.exists():
                    await self._download(folder, manifest, objects)
        await asyncio.to_thread(manifest.verify, folder)
        return folder

    async def _download(self, folder: Path, manifest: Manifest, objects: Mapping[str, ObjectRef]) -> None:
        """Go on with what an interrupted download left, check all of it, and give it its name at last."""
        partial = folder.with_suffix(".partial")
        _check_space(self._root, manifest, partial)
        for file in manifest.files:
            path = partial / file.path
            if await asyncio.to_thread(_is_complete, path, file):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._store.get_file(objects[file.path], path)
        try:
            await asyncio.to_thread(manifest.verify, partial, scanning=True)
        except ArtifactRefused:
            await asyncio.to_thread(shutil.rmtree, partial)
            raise
        partial.rename(folder)


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock among processes; it falls with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _check_objects(project: str, manifest: Manifest, objects: Mapping[str, ObjectRef]) -> None:
    for file in manifest.files:
        ref = objects.get(file.path)
        if ref is None or (ref.size, ref.sha256) != (file.size, file.sha256):
            raise ArtifactRefused(file.path, "has no object with the manifest's size and sha256")
        if not ref.key.startswith(f"{project}/"):
            raise ArtifactRefused(file.path, "has its object in another project")


def _check_space(root: Path, manifest: Manifest, partial: Path) -> None:
    there = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    needed, free = manifest.total_bytes - there + _SPARE_BYTES, shutil.disk_usage(root).free
    if free < needed:
        message = f"the disk of {root} has {free >> 20} MB free, and {needed >> 20} MB are needed: free some space"
        raise DependencyUnavailable(message, dependency="disk", blame=Blame.CAPACITY)


def _is_complete(path: Path, file: ArtifactFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
