"""Embedding models out of the trainer's registry."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_rag.embedding.ports import ResolvedModel
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, Tokenizers
from tidemill_rag.embedding.transformers import CONFIG_FILES, EmbeddingConfig, TransformersEmbedding
from tidemill_rag.errors import EmbeddingUnusable

_MAX_DIGESTS = 1000
"""Cached digests of resolved models, over all projects."""
_NEEDED = ("config.json", "tokenizer.json")
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    project: str
    reference: str


class TrainerModels:
    """Implements `ports.EmbeddingModels`. Models with equal content are loaded once, shared between projects."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        channel: grpc.aio.Channel,
        *,
        artifacts: ArtifactCache,
        bucket: ExchangeBucket,
        max_loaded: int,
        max_bytes: int,
        tokenizers: Tokenizers,
        threads: EmbeddingThreads,
        open_model: Callable[[Path, EmbeddingThreads, EmbeddingTokenizer, EmbeddingConfig], TransformersEmbedding],
    ) -> None:
        self._registry = ModelRegistryServiceStub(channel)
        self._artifacts = artifacts
        self._bucket = bucket
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self._tokenizers = tokenizers
        self._open_model = open_model
        self._threads = threads
        self._digests: OrderedDict[_Place, str] = OrderedDict()
        self._loaded: OrderedDict[str, TransformersEmbedding] = OrderedDict()
        self._bytes: dict[str, int] = {}
        self._loading = asyncio.Lock()

    async def resolve(self, caller: Caller, reference: str) -> ResolvedModel:
        """See `EmbeddingModels.resolve`."""
        version = await self._version(caller, reference)
        refs = _objects(version)
        files = {name: await self._bucket.get(refs[name]) for name in CONFIG_FILES if name in refs}
        return ResolvedModel(reference=version.id, max_tokens=EmbeddingConfig.read(files).max_tokens)

    async def load(self, caller: Caller, resolved: str) -> TransformersEmbedding:
        """See `EmbeddingModels.load`. Versions are immutable, so the registry is called once per version."""
        place = _Place(project=caller.project, reference=resolved)
        digest = self._digests.get(place)
        if digest is None or digest not in self._loaded:
            digest = await self._load(caller, place)
        self._loaded.move_to_end(digest)
        return self._loaded[digest]

    async def _load(self, caller: Caller, place: _Place) -> str:
        """Verify and load the model, and return its digest."""
        version = await self._version(caller, place.reference)
        if version.digest not in self._loaded:
            files = [ArtifactFile(each.path, each.size, each.sha256) for each in version.artifacts]
            folder = await self._artifacts.fetch(place.project, Manifest(files), _objects(version))
            config = await asyncio.to_thread(EmbeddingConfig.of, folder)
            tokenizer = await EmbeddingTokenizer.open(
                self._tokenizers, place.project, folder, prompt=config.passage_prompt, name=place.reference
            )
            async with self._loading:  # excludes the slow download above
                if version.digest not in self._loaded:
                    await self._open(
                        version,
                        lambda: self._open_model(folder, self._threads, tokenizer, config),
                        project=place.project,
                    )
        self._digests[place] = version.digest
        while len(self._digests) > _MAX_DIGESTS:
            self._digests.popitem(last=False)
        return version.digest

    async def _open(
        self, version: model_pb2.ModelVersion, load: Callable[[], TransformersEmbedding], *, project: str
    ) -> None:
        """Load a model; evict the least recently used ones if the limits require it."""
        size = _weight_bytes(version)
        while self._loaded and (
            len(self._loaded) >= self._max_loaded or sum(self._bytes.values()) + size > self._max_bytes
        ):
            dropped, _ = self._loaded.popitem(last=False)
            del self._bytes[dropped]
        self._loaded[version.digest] = await self._threads.run(project, load)
        self._bytes[version.digest] = size

    async def _version(self, caller: Caller, reference: str) -> model_pb2.ModelVersion:
        request = model_registry_service_pb2.GetModelVersionRequest(id=reference)
        with acting_as(caller):
            version = (await self._registry.GetModelVersion(request)).version
        if version.state != model_pb2.MODEL_VERSION_STATE_READY:
            state = model_pb2.ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()
            raise EmbeddingUnusable(version.id, f"is {state}, not ready: {version.message or 'wait until it is'}")
        paths = {artifact.path for artifact in version.artifacts}
        if version.source.HasField("openai"):
            raise EmbeddingUnusable(version.id, "is a remote model; use one with files in the registry")
        missing = [name for name in _NEEDED if name not in paths]
        if missing or not any(path.endswith(_WEIGHTS) for path in paths):
            raise EmbeddingUnusable(version.id, f"has no {' and no '.join(missing or ['safetensors file'])}")
        if (size := _weight_bytes(version)) > self._max_bytes:
            text = f"has {size} bytes of weights; the limit for all embedding models together is {self._max_bytes}"
            raise EmbeddingUnusable(version.id, f"{text}: use a smaller model")
        return version


def _weight_bytes(version: model_pb2.ModelVersion) -> int:
    return sum(each.size for each in version.artifacts if each.path.endswith(_WEIGHTS))


def _objects(version: model_pb2.ModelVersion) -> dict[str, ObjectRef]:
    return {each.path: from_message(ObjectRef, each, ignore=REST) for each in version.artifacts}
