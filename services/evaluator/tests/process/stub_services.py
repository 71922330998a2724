"""Stubs of inference, ingest and trainer in one real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_pb2,
    deployment_service_pb2,
    inference_pb2,
    inference_service_pb2,
)
from tidemill.inference.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_testkit.stubs.trainer import StubModelRegistry

Context = grpc.aio.ServicerContext[Any, Any]
BASE, TUNED = "smollm2@1", "lora@1"


@dataclass(kw_only=True)
class StubServices(DeploymentServiceServicer, InferenceServiceServicer):
    """State and requests of the stubs. The candidate answers with `says`, the baseline never does."""

    address: str = ""
    digest: str = "d1"
    says: dict[str, str] = field(default_factory=dict)
    datasets: StubDatasets = field(default_factory=StubDatasets)
    asked: list[inference_service_pb2.GenerateRequest] = field(default_factory=list)
    projects: set[str] = field(default_factory=set)
    stalls_after: int = 10**9
    going_on: asyncio.Event = field(default_factory=asyncio.Event)
    records: dict[str, inference_pb2.Inference] = field(default_factory=dict)
    unavailable: int = 0
    """Number of further questions that are answered UNAVAILABLE."""

    async def GetDeployment(  # noqa: N802 - the contract's name
        self, request: deployment_service_pb2.GetDeploymentRequest, context: Context
    ) -> deployment_service_pb2.GetDeploymentResponse:
        if request.id != "helpdesk":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such deployment")
        live = configuration_pb2.Configuration(digest=self.digest, model=BASE)
        deployment = deployment_pb2.Deployment(id=request.id, live=live)
        return deployment_service_pb2.GetDeploymentResponse(deployment=deployment)

    async def Generate(  # noqa: N802 - the contract's name
        self, request: inference_service_pb2.GenerateRequest, context: Context
    ) -> inference_service_pb2.GenerateResponse:
        assert request.purpose == inference_pb2.PURPOSE_EVALUATION
        self.projects |= {str(value) for key, value in context.invocation_metadata() or () if "project" in key}
        if self.unavailable:
            self.unavailable -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        if request.request_id in self.records:
            return inference_service_pb2.GenerateResponse(inference=self.records[request.request_id])
        if len(self.asked) >= self.stalls_after:
            await self.going_on.wait()
        self.asked.append(request)
        question = request.messages[-1].parts[0].text
        text = self.says.get(question, "no idea") if request.variant else "i do not know"
        passage = content_pb2.Passage(id="1", document="doc", version=1, end=4, text="text", score=0.5)
        inference = inference_pb2.Inference(
            id=f"i{len(self.asked)}",
            state=inference_pb2.INFERENCE_STATE_COMPLETED,
            variant=inference_pb2.Variant(configuration=self.digest, model=request.variant or BASE),
            output=[content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.Part(text=text)])],
            passages=request.passages or [passage],
            citation_valid=0.5,
        )
        record = inference_pb2.Inference()
        record.CopyFrom(inference)
        for each in record.passages:
            each.ClearField("text")  # records keep the span
        self.records[request.request_id] = record
        return inference_service_pb2.GenerateResponse(inference=inference)


@asynccontextmanager
async def stub_services() -> AsyncIterator[StubServices]:
    """Serve them during the context."""
    played = StubServices()  # type: ignore[abstract] # the rest of their RPCs is not asked
    server = grpc.aio.server()
    add_DeploymentServiceServicer_to_server(played, server)
    add_InferenceServiceServicer_to_server(played, server)
    add_DatasetServiceServicer_to_server(played.datasets, server)
    registry = StubModelRegistry()  # type: ignore[abstract] # it has what others call
    registry.add(model_pb2.ModelVersion(id=BASE))
    trained = model_pb2.TrainedSource(run="r1", base=BASE, dataset_version="sft@2")
    registry.add(model_pb2.ModelVersion(id=TUNED, source=model_pb2.ModelSource(trained=trained)))
    add_ModelRegistryServiceServicer_to_server(registry, server)
    played.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield played
    played.going_on.set()
    await server.stop(1.0)
