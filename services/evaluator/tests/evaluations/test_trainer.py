import grpc
import pytest

from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_testkit.stubs.trainer import StubModelRegistry

TRAINED = model_pb2.ModelSource(trained=model_pb2.TrainedSource(run="r1", base="small@1", dataset_version="sft@2"))
DERIVED = model_pb2.ModelSource(
    derived=model_pb2.DerivedSource(source_version="lora@1", method="merge", dataset_version="sft@2")
)


@pytest.mark.parametrize("source", [TRAINED, DERIVED])
async def test_held_out_cases_are_those_of_what_a_version_or_its_source_was_trained_on(
    source: model_pb2.ModelSource,
) -> None:
    registry, server = StubModelRegistry(), grpc.aio.server()  # type: ignore[abstract] # it has what others call
    files = [model_pb2.Artifact(path="model.safetensors", size=7), model_pb2.Artifact(path="README.md", size=5)]
    registry.add(model_pb2.ModelVersion(id="small@2", source=source, artifacts=files))
    add_ModelRegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = await TrainerModels(channel).version(Caller(project="acme"), "small@2")
    await server.stop(1.0)

    assert (found.dataset_version, found.weights_bytes, found.base) == ("sft@2", 7, source.trained.base)
