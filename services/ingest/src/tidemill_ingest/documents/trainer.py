"""Models that find names, out of the trainer's registry."""

import grpc
from cachetools import LRUCache

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest
from tidemill_ingest.errors import NamesModelUnusable
from tidemill_ingest.masking.names import ModelFolder
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.models.artifacts import ArtifactCache

_MAX_KNOWN = 1000
_NEEDED = ("config.json", "tokenizer.json")
_WEIGHTS = ".safetensors"


class TrainerNameModels:
    """Implements `ports.NameModels`. Versions are immutable: each is asked for and downloaded once."""

    def __init__(self, channel: grpc.aio.Channel, *, artifacts: ArtifactCache, max_bytes: int) -> None:
        self._registry = ModelRegistryServiceStub(channel)
        self._artifacts = artifacts
        self._max_bytes = max_bytes
        self._known: LRUCache[tuple[str, str], ModelFolder] = LRUCache(_MAX_KNOWN)

    async def folder(self, caller: Caller, reference: str) -> ModelFolder:
        """See `ports.NameModels.folder`."""
        place = caller.project, reference
        known = self._known.get(place)
        if known is None or not known.path.exists():
            try:
                known = await self._fetched(caller, reference)
            except (NotFound, ArtifactRefused) as error:
                raise NamesModelUnusable(reference, error.message) from error
            self._known[place] = known
        return known

    async def _fetched(self, caller: Caller, reference: str) -> ModelFolder:
        with acting_as(caller):
            request = model_registry_service_pb2.GetModelVersionRequest(id=reference)
            version = (await self._registry.GetModelVersion(request)).version
        _check(version, reference, max_bytes=self._max_bytes)
        manifest = Manifest([ArtifactFile(each.path, each.size, each.sha256) for each in version.artifacts])
        objects = {each.path: from_message(ObjectRef, each, ignore=REST) for each in version.artifacts}
        return ModelFolder(path=await self._artifacts.fetch(caller.project, manifest, objects), manifest=manifest)


class NoNameModels:
    """Implements `ports.NameModels` where the installation has no registry for ingest."""

    async def folder(self, caller: Caller, reference: str) -> ModelFolder:
        """See `ports.NameModels.folder`."""
        del caller
        raise NamesModelUnusable(reference, "cannot be read: the operator has to set INGEST_TRAINER_ADDRESS")


def _check(version: model_pb2.ModelVersion, reference: str, *, max_bytes: int) -> None:
    """Refuse what is not ready, has no files of its own, or is too large."""
    if version.state != model_pb2.MODEL_VERSION_STATE_READY:
        state = model_pb2.ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()
        raise NamesModelUnusable(reference, f"is {state}, not ready: {version.message or 'wait until it is'}")
    if version.source.HasField("openai"):
        raise NamesModelUnusable(reference, "is a remote model; use one with files in the registry")
    paths = {artifact.path for artifact in version.artifacts}
    missing = [name for name in _NEEDED if name not in paths]
    if missing or not any(path.endswith(_WEIGHTS) for path in paths):
        raise NamesModelUnusable(reference, f"has no {' and no '.join(missing or ['safetensors file'])}")
    size = sum(each.size for each in version.artifacts if each.path.endswith(_WEIGHTS))
    if size > max_bytes:
        text = f"has {size} bytes of weights; the limit is {max_bytes} (INGEST_NAMES_MODEL_BYTES): use a smaller one"
        raise NamesModelUnusable(reference, text)
