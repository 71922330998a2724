"""Models out of the trainer's registry: verified, loaded once by their content, and shared between projects."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
from cachetools import LRUCache

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_core.single_flight import SingleFlight
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.errors import ModelUnusable

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

_MAX_DIGESTS = 1000
"""Cached digests of resolved models, over all projects."""
_NEEDED = ("config.json", "tokenizer.json")
_WEIGHTS = ".safetensors"


class Kind(Protocol[M_co]):
    """What is loaded of a model's files: an embedding model, or a reranker."""

    @property
    def name(self) -> str:
        """Return the kind's name."""
        ...

    @property
    def unusable(self) -> type[ModelUnusable]:
        """Return the error for a model that is none of this kind."""
        ...

    async def prepare(self, project: str, folder: Path, reference: str) -> Callable[[], M_co]:
        """Check the verified files of a folder, and return what loads them; an embedding thread calls it."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    kind: str
    project: str
    reference: str


class RegistryModels:
    """Loads models of all kinds within one limit of memory, the least recently used one going first."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        channel: grpc.aio.Channel,
        *,
        artifacts: ArtifactCache,
        bucket: ExchangeBucket,
        max_loaded: int,
        max_bytes: int,
        threads: EmbeddingThreads,
    ) -> None:
        self._registry = ModelRegistryServiceStub(channel)
        self._artifacts = artifacts
        self._bucket = bucket
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self.threads = threads
        self._digests: LRUCache[_Place, str] = LRUCache(_MAX_DIGESTS)
        self._loaded: OrderedDict[tuple[str, str], Any] = OrderedDict()
        """By kind and digest."""
        self._bytes: dict[tuple[str, str], int] = {}
        self._loading = asyncio.Lock()
        self._under_way = SingleFlight[_Place, Any]("load model")

    async def version(self, caller: Caller, reference: str, *, unusable: type[ModelUnusable]) -> model_pb2.ModelVersion:
        """Return a version of a model with files that can be loaded.

        Raises:
            NotFound: the project has no such model.
            ModelUnusable: it is `unusable`.
            DependencyUnavailable: the trainer does not respond.

        """
        request = model_registry_service_pb2.GetModelVersionRequest(id=reference)
        with acting_as(caller):
            version = (await self._registry.GetModelVersion(request)).version
        if version.state != model_pb2.MODEL_VERSION_STATE_READY:
            state = model_pb2.ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()
            raise unusable(version.id, f"is {state}, not ready: {version.message or 'wait until it is'}")
        paths = {artifact.path for artifact in version.artifacts}
        if version.source.HasField("openai"):
            raise unusable(version.id, "is a remote model; use one with files in the registry")
        missing = [name for name in _NEEDED if name not in paths]
        if missing or not any(path.endswith(_WEIGHTS) for path in paths):
            raise unusable(version.id, f"has no {' and no '.join(missing or ['safetensors file'])}")
        if (size := _weight_bytes(version)) > self._max_bytes:
            text = f"has {size} bytes of weights; the limit for all embedding models together is {self._max_bytes}"
            raise unusable(version.id, f"{text}: use a smaller model")
        return version

    async def files(self, version: model_pb2.ModelVersion, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the small files with these names that a version has."""
        refs = _objects(version)
        return {name: await self._bucket.get(refs[name]) for name in names if name in refs}

    async def load(self, caller: Caller, reference: str, kind: Kind[M]) -> M:
        """Return a loaded version. Versions are immutable, so the registry is called once per version."""
        place = _Place(kind.name, caller.project, reference)
        known = (kind.name, self._digests.get(place, ""))
        if known in self._loaded:
            self._loaded.move_to_end(known)
            loaded: M = self._loaded[known]
        else:
            # It goes on without its caller: searches that wait for less long than it takes would never find it loaded.
            loaded = await self._under_way(place, lambda: self._load(caller, place, kind))
        return loaded

    async def _load(self, caller: Caller, place: _Place, kind: Kind[Any]) -> Any:  # noqa: ANN401 - as the kind has it
        """Verify the model, and return it loaded."""
        version = await self.version(caller, place.reference, unusable=kind.unusable)
        if (kind.name, version.digest) not in self._loaded:
            files = [ArtifactFile(each.path, each.size, each.sha256) for each in version.artifacts]
            folder = await self._artifacts.fetch(place.project, Manifest(files), _objects(version))
            prepared = await kind.prepare(place.project, folder, place.reference)
            async with self._loading:  # excludes the slow download above
                if (kind.name, version.digest) not in self._loaded:
                    await self._open(version, prepared, place)
        loaded = self._loaded[kind.name, version.digest]
        self._digests[place] = version.digest
        return loaded

    async def _open(self, version: model_pb2.ModelVersion, load: Callable[[], object], place: _Place) -> None:
        """Load a model; evict the least recently used ones if the limits require it."""
        size = _weight_bytes(version)
        while self._loaded and (
            len(self._loaded) >= self._max_loaded or sum(self._bytes.values()) + size > self._max_bytes
        ):
            dropped, _ = self._loaded.popitem(last=False)
            del self._bytes[dropped]
        self._loaded[place.kind, version.digest] = await self.threads.run(place.project, load)
        self._bytes[place.kind, version.digest] = size


def _weight_bytes(version: model_pb2.ModelVersion) -> int:
    return sum(each.size for each in version.artifacts if each.path.endswith(_WEIGHTS))


def _objects(version: model_pb2.ModelVersion) -> dict[str, ObjectRef]:
    return {each.path: from_message(ObjectRef, each, ignore=REST) for each in version.artifacts}
