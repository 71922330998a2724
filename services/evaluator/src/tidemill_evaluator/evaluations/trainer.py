"""Client of trainer's model registry."""

from dataclasses import replace

import grpc

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.evaluations.domain.exposure import Exposure
from tidemill_evaluator.evaluations.ports import Version

_WEIGHTS = ".safetensors"


class TrainerModels:
    """Implements `ports.Models`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._registry = ModelRegistryServiceStub(channel)

    async def version(self, caller: Caller, version: str) -> Version:
        """See `Models.version`."""
        request = model_registry_service_pb2.GetModelVersionRequest(id=version)
        with acting_as(caller):
            response = await self._registry.GetModelVersion(request)
        shared = _version(response.base) if response.HasField("base") else None
        return replace(_version(response.version), shared_base=shared)


def _version(found: model_pb2.ModelVersion) -> Version:
    return Version(
        ready=found.state == model_pb2.MODEL_VERSION_STATE_READY,
        dataset_version=found.source.trained.dataset_version or found.source.derived.dataset_version,
        weights_bytes=sum(each.size for each in found.artifacts if each.path.endswith(_WEIGHTS)),
        base=found.source.trained.base,
        exposure=_exposure(found.memorisation) if found.HasField("memorisation") else None,
    )


def _exposure(found: model_pb2.Memorisation) -> Exposure:
    return Exposure(bits=found.exposure, threshold=found.threshold, canaries=found.canaries, planted=found.planted)
