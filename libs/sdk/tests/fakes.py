"""Services in memory behind real gRPC servers on free ports."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from tidemill.content.v1.content_pb2 import Passage
from tidemill.inference.v1 import inference_service_pb2 as inference_rpc
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.ingest.v1 import document_service_pb2 as document_rpc
from tidemill.ingest.v1 import source_service_pb2 as source_rpc
from tidemill.ingest.v1.document_pb2 import Breach, Document, Withheld
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceServicer, add_DocumentServiceServicer_to_server
from tidemill.ingest.v1.label_pb2 import DocumentLabel
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceServicer, add_SourceServiceServicer_to_server
from tidemill.rag.v1.collection_pb2 import Collection, IndexState, IndexVersion
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill.status.v1 import status_service_pb2 as status_rpc
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceServicer, add_StatusServiceServicer_to_server
from tidemill.trainer.v1 import model_pb2 as model
from tidemill.trainer.v1 import model_registry_service_pb2 as model_rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.digests import body_digest
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound, TidemillError
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.grpc.server import GrpcServer, Registration, current_caller
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences
from tidemill_testkit.stubs.rag import StubPassage, StubRag
from tidemill_testkit.stubs.trainer import Context, StubModelRegistry

WITHHELD = b"too short"
"""What ingest withholds begins so."""


class Failing:
    """Fails the next calls of a method with the given errors, one each."""

    def __init__(self) -> None:
        self.errors: dict[str, list[TidemillError]] = {}
        self.calls: list[str] = []

    def called(self, method: str) -> None:
        self.calls.append(method)
        if waiting := self.errors.get(method):
            raise waiting.pop(0)


class FakeIngest(DocumentServiceServicer, SourceServiceServicer):
    """Takes text of up to a limit; keeps sources and documents by project and key."""

    limit = 10_000_000

    def __init__(self) -> None:
        self.fails = Failing()
        self.documents: dict[tuple[str, str], Document] = {}
        self.contents: dict[str, bytes] = {}
        self.sources: dict[str, Source] = {}
        self.outdated: set[str] = set()
        self.labels = defaultdict[str, list[DocumentLabel]](list)
        self.deleted: list[str] = []
        self.request_ids: list[str] = []
        self.running = self.max_seen = 0

    async def UploadDocument(  # noqa: N802 - the contract's name
        self, request_iterator: AsyncIterator[document_rpc.UploadDocumentRequest], _context: object
    ) -> document_rpc.UploadDocumentResponse:
        self.running += 1
        self.max_seen = max(self.max_seen, self.running)
        try:
            start = (await anext(request_iterator)).start
            self.request_ids.append(start.request_id)
            content = b"".join([message.chunk async for message in request_iterator])
            self.fails.called("UploadDocument")
        finally:
            self.running -= 1
        assert (len(content), hashlib.sha256(content).hexdigest()) == (start.size, start.sha256)
        return document_rpc.UploadDocumentResponse(document=self._stored(start.spec, content, start.request_id))

    async def ListDocuments(  # noqa: N802 - ditto
        self, request: document_rpc.ListDocumentsRequest, _context: object
    ) -> document_rpc.ListDocumentsResponse:
        begin = int(request.page_token or 0)
        found = list(self.documents.values())
        shown = found[begin : begin + 2]  # smaller than asked for, as a service may
        token = str(begin + 2) if begin + 2 < len(found) else ""
        return document_rpc.ListDocumentsResponse(documents=shown, next_page_token=token)

    async def GetDocument(  # noqa: N802 - ditto
        self, request: document_rpc.GetDocumentRequest, _context: object
    ) -> document_rpc.GetDocumentResponse:
        self.fails.called("GetDocument")
        found = self.documents.get((current_caller().project, request.key))
        if found is None:
            message = f"there is no document {request.key}"
            raise NotFound(message)
        labels = self.labels[request.key]
        return document_rpc.GetDocumentResponse(document=found, outdated=request.key in self.outdated, labels=labels)

    async def DeleteDocument(  # noqa: N802 - ditto
        self, request: document_rpc.DeleteDocumentRequest, _context: object
    ) -> document_rpc.DeleteDocumentResponse:
        self.fails.called("DeleteDocument")
        self.deleted.append(request.key)
        return document_rpc.DeleteDocumentResponse(document=Document(key=request.key))

    async def CreateSource(  # noqa: N802 - ditto
        self, request: source_rpc.CreateSourceRequest, _context: object
    ) -> source_rpc.CreateSourceResponse:
        self.request_ids.append(request.request_id)
        self.fails.called("CreateSource")
        created = Source(project=current_caller().project)
        created.MergeFrom(request.source)
        self.sources[created.id] = created
        return source_rpc.CreateSourceResponse(source=created)

    def _stored(self, spec: document_rpc.DocumentSpec, content: bytes, request_id: str) -> Document:
        if len(content) > self.limit:
            message = f"content: has {len(content)} bytes; the limit is {self.limit}"
            raise InvalidInput(message)
        project = current_caller().project
        before = self.documents.get((project, spec.key))
        if before and self.contents[spec.key] == content:
            return before
        document = Document(id=f"id-{spec.key}", project=project, source=spec.source, key=spec.key)
        document.current.media_type = spec.media_type
        document.current.number = before.current.number + 1 if before else 1
        document.current.provenance.submission_id = request_id
        document.current.provenance.body_digest = body_digest(
            content_sha256=hashlib.sha256(content).hexdigest(), media_type=spec.media_type, title=spec.title
        )
        if content.startswith(WITHHELD):
            document.ClearField("current")
            breach = Breach(reason="TEXT_TOO_SHORT", field="min_characters", value=f"{len(content)}", limit="40")
            document.withheld.MergeFrom(Withheld(version=1, breaches=[breach]))
        self.documents[project, spec.key] = document
        self.contents[spec.key] = content
        return document


class FakeTrainer(StubModelRegistry):
    """Also refuses other files than JSON that contain `auto_map`, and finishes imports after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = Failing()
        self.waits = 0
        """How often a fetched version is still waited for."""

    def inspect(self, path: str, content: bytes) -> None:
        self.fails.called(f"UploadModelFile {path}")
        if b"auto_map" in content:
            raise ArtifactRefused(path, "names code to run: auto_map")

    async def GetModelVersion(  # noqa: N802 - ditto
        self, request: model_rpc.GetModelVersionRequest, context: Context
    ) -> model_rpc.GetModelVersionResponse:
        response = await super().GetModelVersion(request, context)
        if response.version.state == model.MODEL_VERSION_STATE_IMPORTING:
            self.waits -= 1
            if self.waits <= 0:
                self.add(model.ModelVersion(id=response.version.id), project=response.version.project)
        return response


class FakeInference(StubInferences):
    """Repeats the question, a word at a time, and counts the streams that ended."""

    def __init__(self) -> None:
        known = StubDeployments()  # type: ignore[abstract] # it has what the tests call
        known.add(Deployment(id="helpdesk"))
        super().__init__(known)
        self.streams_ended = 0

    async def GenerateStream(  # noqa: N802 - ditto
        self, request: inference_rpc.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[inference_rpc.GenerateStreamResponse]:
        try:
            async for each in super().GenerateStream(request, context):
                yield each
        finally:
            self.streams_ended += 1


def handbook() -> StubRag:
    """Return a rag that has one passage."""
    rag = StubRag()  # type: ignore[abstract] # it has what the tests call
    passage = StubPassage(passage=Passage(text="reset", source="cms"), metadata={"product": "vpn"})
    index = IndexVersion(number=3, state=IndexState.INDEX_STATE_LIVE)
    rag.add(Collection(id="handbook", live_index=3, indexes=[index]), passages=[passage])
    return rag


class FakeStatus(StatusServiceServicer):
    """Is ready."""

    def __init__(self, service: str) -> None:
        self._service = service

    async def GetStatus(  # noqa: N802 - ditto
        self, _request: status_rpc.GetStatusRequest, _context: object
    ) -> status_rpc.GetStatusResponse:
        return status_rpc.GetStatusResponse(status=status_rpc.ServiceStatus(service=self._service, ready=True))


def away(service: str) -> DependencyUnavailable:
    """Return what a service says that cannot work now."""
    message = "not now"
    return DependencyUnavailable(message, dependency=service)


class FakeTidemill:
    """All services, each behind a server of its own."""

    def __init__(self) -> None:
        self.ingest = FakeIngest()  # type: ignore[abstract] # it serves what the tests call
        self.trainer = FakeTrainer()  # type: ignore[abstract] # it serves what the tests call
        self.rag = handbook()
        self.inference = FakeInference()  # type: ignore[abstract] # it serves what the tests call
        self.ports: dict[str, int] = {}
        self._servers: list[GrpcServer] = []

    async def start(self) -> None:
        """Listen."""
        made: dict[str, list[tuple[Callable[..., None], Any]]] = {
            "ingest": [
                (add_DocumentServiceServicer_to_server, self.ingest),
                (add_SourceServiceServicer_to_server, self.ingest),
            ],
            "trainer": [(add_ModelRegistryServiceServicer_to_server, self.trainer)],
            "rag": [(add_RetrievalServiceServicer_to_server, self.rag)],
            "inference": [(add_InferenceServiceServicer_to_server, self.inference)],
        }
        for service, servicers in made.items():
            status: Registration = (add_StatusServiceServicer_to_server, FakeStatus(service))
            server = GrpcServer(fake_settings(), [*servicers, status], access=access_of(), audit=RecordedCalls())
            await server.start()
            self.ports[service] = server.port
            self._servers.append(server)

    async def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            await server.stop(0.5)


@cache
def fake_settings() -> ServiceSettings:
    """Return settings of a server that only listens."""
    return ServiceSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "mongo_database": "fake",
            "max_requests_per_minute_of_project": 0,  # one apply of a loop is a hundred of them
            "max_requests_per_minute_of_subject": 0,
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
        }
    )
