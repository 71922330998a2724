from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_evaluator.evaluations.domain.exposure import Exposure
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_testkit.stubs.trainer import StubModelRegistry

TRAINED = model_pb2.ModelSource(trained=model_pb2.TrainedSource(run="r1", base="small@1", dataset_version="sft@2"))
DERIVED = model_pb2.ModelSource(
    derived=model_pb2.DerivedSource(source_version="lora@1", method="merge", dataset_version="sft@2")
)


class SharedAdapter(StubModelRegistry):
    """Has an adapter that another project shares, with its base."""

    async def GetModelVersion(  # noqa: N802 - as in the contract
        self, request: model_registry_service_pb2.GetModelVersionRequest, _context: object
    ) -> model_registry_service_pb2.GetModelVersionResponse:
        """Return it."""
        file = model_pb2.Artifact(path="model.safetensors", size=7)
        base = model_pb2.ModelVersion(id=f"base of {request.id}", artifacts=[file, file])
        adapter = model_pb2.ModelVersion(id=request.id, source=TRAINED, artifacts=[file])
        return model_registry_service_pb2.GetModelVersionResponse(version=adapter, base=base)


@asynccontextmanager
async def models_of(registry: StubModelRegistry) -> AsyncIterator[TrainerModels]:
    server = grpc.aio.server()
    add_ModelRegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield TrainerModels(channel)
    await server.stop(1.0)


async def test_a_base_that_is_shared_with_an_adapter_comes_with_it() -> None:
    async with models_of(SharedAdapter()) as models:  # type: ignore[abstract] # as below
        found = await models.version(Caller(project="acme"), "globex/lora@1")

    assert (found.weights_bytes, found.base) == (7, "small@1")
    assert found.shared_base is not None
    assert found.shared_base.weights_bytes == 14


@pytest.mark.parametrize("source", [TRAINED, DERIVED])
async def test_held_out_cases_are_those_of_what_a_version_or_its_source_was_trained_on(
    source: model_pb2.ModelSource,
) -> None:
    registry = StubModelRegistry()  # type: ignore[abstract] # it has what others call
    files = [model_pb2.Artifact(path="model.safetensors", size=7), model_pb2.Artifact(path="README.md", size=5)]
    registry.add(model_pb2.ModelVersion(id="small@2", source=source, artifacts=files))
    async with models_of(registry) as models:
        found = await models.version(Caller(project="acme"), "small@2")

    assert (found.shared_base, found.exposure) == (None, None)
    assert (found.dataset_version, found.weights_bytes, found.base) == ("sft@2", 7, source.trained.base)


async def test_the_exposure_of_a_version_is_what_its_training_measured() -> None:
    registry = StubModelRegistry()  # type: ignore[abstract] # as above
    measured = model_pb2.Memorisation(canaries=19, planted=20, exposure=3.5, threshold=2.25)
    registry.add(model_pb2.ModelVersion(id="lora@2", source=TRAINED, memorisation=measured))

    async with models_of(registry) as models:
        found = await models.version(Caller(project="acme"), "lora@2")

    assert found.exposure == Exposure(bits=3.5, threshold=2.25, canaries=19, planted=20)
