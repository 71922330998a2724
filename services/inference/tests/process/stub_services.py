"""trainer, rag and ingest as inference meets them: real gRPC servers with some models and one collection."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.ingest.v1 import dataset_service_pb2_grpc, document_pb2, document_service_pb2_grpc
from tidemill.rag.v1 import (
    collection_pb2,
    collection_service_pb2_grpc,
    retrieval_service_pb2_grpc,
    similar_text_service_pb2_grpc,
)
from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2_grpc
from tidemill_core.aggregate import ObjectRef
from tidemill_testkit.stubs.ingest import StubDatasets, StubDocuments
from tidemill_testkit.stubs.rag import StubPassage, StubRag
from tidemill_testkit.stubs.similar_texts import StubSimilarTexts
from tidemill_testkit.stubs.trainer import StubModelRegistry

PASSAGES = ("os.walk walks a directory tree.", "json.dumps writes an object as text.")


class Registry(StubModelRegistry):
    """Has one version of each model, `model@1`."""

    def add_files(self, model: str, digest: str, files: Mapping[str, ObjectRef], *, base: str = "") -> None:
        artifacts = [
            model_pb2.Artifact(path=path, size=ref.size, sha256=ref.sha256, bucket=ref.bucket, key=ref.key, stored=True)
            for path, ref in files.items()
        ]
        source = model_pb2.ModelSource(trained=model_pb2.TrainedSource(base=base)) if base else None
        self.add(model_pb2.ModelVersion(id=f"{model}@1", digest=digest, artifacts=artifacts, source=source))

    def add_remote(self, model: str, base_url: str, *, name: str, secret: str = "") -> None:
        openai = model_pb2.OpenAiSource(model=name, base_url=base_url, api_key_secret=secret)
        source = model_pb2.ModelSource(openai=openai)
        self.add(model_pb2.ModelVersion(id=f"{model}@1", digest=base_url + name, source=source))


def handbook() -> StubRag:
    """Return a rag that has a collection `handbook`."""
    rag = StubRag()  # type: ignore[abstract] # it has what inference calls
    passages = [
        StubPassage(passage=content_pb2.Passage(document=f"d{number}", version=1, end=len(text), text=text, score=0.5))
        for number, text in enumerate(PASSAGES, start=1)
    ]
    index = collection_pb2.IndexVersion(number=2, state=collection_pb2.INDEX_STATE_LIVE)
    rag.add(collection_pb2.Collection(id="handbook", live_index=2, indexes=[index]), passages=passages)
    return rag


@asynccontextmanager
async def stub_services() -> AsyncIterator[tuple[Registry, StubRag, StubDatasets, str]]:
    """Run all of them behind one address."""
    server = grpc.aio.server()
    registry, rag = Registry(), handbook()  # type: ignore[abstract] # what they lack answers UNIMPLEMENTED
    model_registry_service_pb2_grpc.add_ModelRegistryServiceServicer_to_server(registry, server)
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(rag, server)
    retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server(rag, server)
    ingest = StubDocuments()  # type: ignore[abstract] # ditto
    for number, text in enumerate(PASSAGES, start=1):
        ingest.add(document_pb2.Document(id=f"d{number}"), texts={1: text})
    document_service_pb2_grpc.add_DocumentServiceServicer_to_server(ingest, server)
    datasets = StubDatasets()  # type: ignore[abstract] # ditto
    dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server)
    similar_text_service_pb2_grpc.add_SimilarTextServiceServicer_to_server(StubSimilarTexts("tiny@1"), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield registry, rag, datasets, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
