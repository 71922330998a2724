"""Export of model versions: their files on this machine's disk, and the card of a Hugging Face folder."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from tidemill.trainer.v1.model_pb2 import Artifact, ModelVersion
from tidemill.trainer.v1.model_registry_service_pb2 import DownloadModelFileRequest
from tidemill_client.connection import UPLOAD_LIMIT_S, Connection
from tidemill_client.model_cards import ModelCards, began_with
from tidemill_client.models import Models
from tidemill_client.retries import persistently
from tidemill_core.errors import DeadlineExceeded, InvalidInput, NotFound
from tidemill_core.models.int8 import QUANTIZATION
from tidemill_core.models.manifest import ArtifactFile

CARD, CONFIG, ADAPTER = "README.md", "config.json", "adapter_config.json"
MAX_ORIGINS = 16
"""Versions that a version came from which are read for a licence."""
UNKNOWN = "other"
"""The hub's word for a licence that it does not know."""
_LICENSE = re.compile(r"^license:[ \t]*(['\"]?)([A-Za-z0-9][\w.+-]{0,63})\1[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^(#{1,4} )", re.MULTILINE)
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)

Progress = Callable[[int, int], None]
"""Called with the received and the total number of bytes."""


class ModelExport:
    """Exports versions of the project's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def check(self, version: ModelVersion, *, adapters: bool) -> None:
        """Check that others can load a version without Tidemill.

        Raises:
            InvalidInput: it has no files, int8 weights, or is an adapter and `adapters` is false.

        """
        paths = {artifact.path for artifact in version.artifacts}
        if not paths:
            message = f"{version.id} is a remote model: there are no files to export"
            raise InvalidInput(message)
        if ADAPTER in paths:
            if adapters:
                return
            message = f"{version.id} is an adapter: make full weights of it, `tidemill models derive --method merge`"
            raise InvalidInput(message)
        if json.loads(await self._text_of(version, CONFIG)).get(QUANTIZATION) is not None:
            message = f"{version.id} has int8 weights, which only Tidemill reads: export what it was derived from"
            raise InvalidInput(message)

    async def files(
        self, version: ModelVersion, folder: Path, *, progress: Progress = lambda _done, _total: None
    ) -> None:
        """Write a version's files to a folder, each compared with its digest; one that is there already is kept.

        Raises:
            InvalidInput: the folder has other files.

        """
        await asyncio.to_thread(_refuse_others, folder, version)
        done = 0
        for artifact in version.artifacts:
            target = folder / _plain(artifact).path
            if not await asyncio.to_thread(_is_whole, target, artifact):
                await self._whole(version, artifact, target)
            done += artifact.size
            progress(done, version.total_bytes)

    async def write_card(self, version: ModelVersion, folder: Path) -> None:
        """Write the card: what the hub reads (licence, base), and the data, results and approvals of the version."""
        card = await ModelCards(self._connection).get(version.id)
        base, licence = await self._origin(version)
        library = "peft" if (folder / ADAPTER).exists() else "transformers"
        front = ["---", f"license: {licence}", *([f"base_model: {base}"] if base else [])]
        text = "\n".join([*front, f"library_name: {library}", "tags: [tidemill]", "---", "", card.markdown()])
        made = await self._text_of(version, CARD) if CARD in {each.path for each in version.artifacts} else ""
        if made := _FRONT.sub("", made).strip():
            if _is_ours(version):
                made = _HEADING.sub(r"##\1", made)
            text += f"\n## How it was made\n\n{made}\n"
        await asyncio.to_thread((folder / CARD).write_text, text, encoding="utf-8")

    async def licence_of(self, version: ModelVersion) -> str:
        """Return the licence of what a version came from as its card states it, "" where it states none."""
        _, licence = await self._origin(version)
        return "" if licence == UNKNOWN else licence

    async def _origin(self, version: ModelVersion) -> tuple[str, str]:
        """Return the hub's name of the version that it all came from, "" if it has none, and its licence."""
        try:
            for _ in range(MAX_ORIGINS):
                source = version.source
                parent = began_with(source.trained) if source.HasField("trained") else source.derived.source_version
                if not parent:
                    break
                version = await Models(self._connection).version(parent)
            there = CARD in {each.path for each in version.artifacts}
            front = _FRONT.match(await self._text_of(version, CARD)) if there else None
        except NotFound:  # deleted since, or of another project, which serves it and does not give it away
            return "", UNKNOWN
        found = _LICENSE.search(front.group(1)) if front else None
        return version.source.hugging_face.repository, found.group(2) if found else UNKNOWN

    async def _text_of(self, version: ModelVersion, path: str) -> str:
        pieces = [piece async for piece in self._pieces(version, path)]
        return b"".join(pieces).decode("utf-8", "replace")

    async def _whole(self, version: ModelVersion, artifact: Artifact, target: Path) -> None:
        """Download a file; a call that took too long is followed by one for the rest, if it brought anything."""
        begun = target.with_name(f"{target.name}.partial")
        await asyncio.to_thread(begun.parent.mkdir, parents=True, exist_ok=True)
        while True:
            before = await asyncio.to_thread(_size_of, begun)
            try:
                return await persistently(partial(self._download, version, artifact, begun, target))
            except DeadlineExceeded:
                if await asyncio.to_thread(_size_of, begun) <= before:
                    raise

    async def _download(self, version: ModelVersion, artifact: Artifact, begun: Path, target: Path) -> None:
        have = await asyncio.to_thread(_size_of, begun)
        await self._receive(version, artifact, begun, have if have <= artifact.size else 0)
        if have and not await asyncio.to_thread(_is_whole, begun, artifact):  # what was there is of another file
            await self._receive(version, artifact, begun, 0)
        if not await asyncio.to_thread(_is_whole, begun, artifact):
            await asyncio.to_thread(begun.unlink)
            message = f"{artifact.path} of {version.id} did not arrive whole: export again"
            raise InvalidInput(message)
        await asyncio.to_thread(begun.rename, target)

    async def _receive(self, version: ModelVersion, artifact: Artifact, begun: Path, offset: int) -> None:
        with await asyncio.to_thread(begun.open, "ab" if offset else "wb") as file:
            async for piece in self._pieces(version, artifact.path, offset):
                await asyncio.to_thread(file.write, piece)

    async def _pieces(self, version: ModelVersion, path: str, offset: int = 0) -> AsyncIterator[bytes]:
        request = DownloadModelFileRequest(version=version.id, path=path, offset=offset)
        async for piece in self._connection.models.DownloadModelFile(request, timeout=UPLOAD_LIMIT_S):
            yield piece.chunk


def _is_ours(version: ModelVersion) -> bool:
    """Return whether the trainer wrote the version's card."""
    return version.source.HasField("trained") or version.source.HasField("derived")


def _plain(artifact: Artifact) -> ArtifactFile:
    """Return an artifact as a file whose path leads nowhere else."""
    return ArtifactFile(artifact.path, artifact.size, artifact.sha256)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(path: Path, artifact: Artifact) -> bool:
    if not path.is_file() or path.is_symlink() or path.stat().st_size != artifact.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256


def _refuse_others(folder: Path, version: ModelVersion) -> None:
    """Check that a folder has nothing but what an earlier export of the version may have left."""
    known = {artifact.path for artifact in version.artifacts} | {CARD}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix().removesuffix(".partial")
        if path.is_file() and name not in known:
            message = f"{folder} has {name}, which is no file of {version.id}: give a new folder"
            raise InvalidInput(message)
