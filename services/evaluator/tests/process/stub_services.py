"""Stubs of inference, ingest, rag and trainer in one real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from services.evaluator.tests.metrics.embedder import StubTextEmbeddings
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import configuration_pb2, deployment_pb2, inference_pb2, inference_service_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill.rag.v1.text_embedding_service_pb2_grpc import add_TextEmbeddingServiceServicer_to_server
from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences, text_of
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_testkit.stubs.rag import StubPassage, StubRag
from tidemill_testkit.stubs.trainer import StubModelRegistry

BASE, TUNED = "smollm2@1", "lora@1"
DIGEST = "d1"
_PASSAGE = content_pb2.Passage(id="1", document="doc", version=1, end=4, text="text", score=0.5)


class Inferences(StubInferences):
    """Answers the questions of evaluations; some are UNAVAILABLE, and after some it stalls."""

    def __init__(self) -> None:
        known = StubDeployments()  # type: ignore[abstract] # it has what evaluator calls
        live = configuration_pb2.Configuration(digest=DIGEST, model=BASE)
        known.add(deployment_pb2.Deployment(id="helpdesk", live=live))
        grader = configuration_pb2.Configuration(digest="g1", model="grader@1")
        known.add(deployment_pb2.Deployment(id="grader", live=grader))
        super().__init__(known, answers=self._said, passages=[_PASSAGE])
        self.known = known
        self.says: dict[str, str] = {}
        """What the candidate answers; the baseline answers nothing."""
        self.projects: set[str] = set()
        self.stalls_after = 10**9
        self.going_on = asyncio.Event()
        self.unavailable = 0
        """Number of further questions that are answered UNAVAILABLE."""

    async def answered(self, request: inference_service_pb2.GenerateRequest, project: str) -> inference_pb2.Inference:
        assert request.purpose == inference_pb2.PURPOSE_EVALUATION
        self.projects.add(project)
        if self.unavailable:
            self.unavailable -= 1
            message = "try again"
            raise DependencyUnavailable(message, dependency="inference")
        if len(self.asked) >= self.stalls_after:
            await self.going_on.wait()
        return await super().answered(request, project)

    def _said(self, request: inference_service_pb2.GenerateRequest) -> str:
        if request.deployment == "grader":
            return '{"quality": 4}' if "it is number" in text_of(request.messages[-1]) else '{"quality": 1}'
        return self.says.get(text_of(request.messages[-1]), "no idea") if request.variant else "i do not know"


@dataclass(frozen=True, kw_only=True)
class StubServices:
    """The stubs behind one address."""

    address: str
    inference: Inferences
    datasets: StubDatasets


def _handbook() -> StubRag:
    """Return rag with a collection that finds document `doc` for whatever is asked."""
    rag = StubRag()  # type: ignore[abstract] # it has what evaluator calls
    live = collection_pb2.IndexVersion(number=1, state=collection_pb2.INDEX_STATE_LIVE, documents_indexed=1)
    rag.add(
        collection_pb2.Collection(id="handbook", live_index=1, indexes=[live]), passages=[StubPassage(passage=_PASSAGE)]
    )
    return rag


@asynccontextmanager
async def stub_services() -> AsyncIterator[StubServices]:
    """Serve them during the context."""
    inference, datasets = Inferences(), StubDatasets()  # type: ignore[abstract] # they have what evaluator calls
    server = grpc.aio.server()
    add_DeploymentServiceServicer_to_server(inference.known, server)
    add_InferenceServiceServicer_to_server(inference, server)
    add_DatasetServiceServicer_to_server(datasets, server)
    rag = _handbook()
    add_CollectionServiceServicer_to_server(rag, server)
    add_RetrievalServiceServicer_to_server(rag, server)
    add_TextEmbeddingServiceServicer_to_server(StubTextEmbeddings(), server)
    registry = StubModelRegistry()  # type: ignore[abstract] # it has what others call
    registry.add(model_pb2.ModelVersion(id=BASE))
    trained = model_pb2.TrainedSource(run="r1", base=BASE, dataset_version="sft@2")
    registry.add(model_pb2.ModelVersion(id=TUNED, source=model_pb2.ModelSource(trained=trained)))
    add_ModelRegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield StubServices(address=f"127.0.0.1:{port}", inference=inference, datasets=datasets)
    inference.going_on.set()
    await server.stop(1.0)
