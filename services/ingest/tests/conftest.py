"""A real gRPC server on a free port, in front of stores in memory; stores of the test's own on the real servers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import pytest

from services.ingest.tests.datasets.fakes import Datasets
from services.ingest.tests.fakes import Ingest
from services.ingest.tests.profiled import ProcessesHere
from tidemill.ingest.v1 import (
    dataset_service_pb2_grpc,
    document_service_pb2_grpc,
    profile_service_pb2_grpc,
    source_service_pb2_grpc,
)
from tidemill_ingest.datasets.grpc import DatasetServicer
from tidemill_ingest.documents.grpc import DocumentServicer
from tidemill_ingest.documents.labelled import ReadLabelled
from tidemill_ingest.documents.uploads import Uploads
from tidemill_ingest.limits import Limits
from tidemill_ingest.profiles.examples import ProcessExamples
from tidemill_ingest.profiles.grpc import ProfileServicer
from tidemill_ingest.profiles.profile_datasets import ProfileDatasets
from tidemill_ingest.profiles.read_profiles import ReadProfiles
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.grpc import SourceServicer
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name

SMALL = Limits(inline_bytes=100, document_bytes=1000)
PATIENCE = Patience(max_concurrent=2, of_project=3, idle_s=1.5, whole_s=3.0)
NewBucket = Callable[[str], Awaitable[str]]
"""Called with a prefix; returns the bucket's name."""


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("ingest")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
def object_store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


@pytest.fixture
async def new_bucket(stack: Addresses, object_store: ObjectStore) -> AsyncIterator[NewBucket]:
    """Return a function that creates a bucket of the test's own; they are removed when the test ends."""
    names: list[str] = []

    async def create(prefix: str) -> str:
        name = unique_name(prefix)
        await object_store.ensure_bucket(name)
        names.append(name)
        return name

    yield create
    for name in names:
        await remove_bucket(stack, name)


@dataclass(frozen=True, kw_only=True)
class ApiClient:
    """Stubs for project acme, for another one, and without a project."""

    ingest: Ingest
    curated: Datasets
    uploads: Uploads
    audit: RecordedCalls
    sources: source_service_pb2_grpc.SourceServiceStub
    documents: document_service_pb2_grpc.DocumentServiceStub
    datasets: dataset_service_pb2_grpc.DatasetServiceStub
    profiles: profile_service_pb2_grpc.ProfileServiceStub
    globex: document_service_pb2_grpc.DocumentServiceStub
    globex_datasets: dataset_service_pb2_grpc.DatasetServiceStub
    unauthenticated: document_service_pb2_grpc.DocumentServiceStub


@cache
def settings_without_servers() -> IngestSettings:
    """Return settings of a service whose servers do not answer."""
    return IngestSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
        }
    )


@pytest.fixture
async def client() -> AsyncIterator[ApiClient]:
    ingest, uploads = await Ingest(limits=SMALL).with_source(), Uploads(limits=SMALL, places=UploadPlaces(PATIENCE))
    documents = DocumentServicer(
        accept=ingest.accept,
        delete=ingest.delete,
        reading=ingest.reading,
        labelled=ReadLabelled(labels=ingest.labels, documents=ingest.documents),
        release=ingest.release,
        reveal=ingest.reveal,
        uploads=uploads,
    )
    sources, audit = SourceServicer(ingest.managing), RecordedCalls()
    curated = Datasets()
    datasets = DatasetServicer(datasets=curated.managing, versions=curated.reading, approve=curated.approving)
    reading = ReadProfiles(sources=ingest.sources, sketches=ingest.profiles.sketches, labels=ingest.labels)
    of_datasets = ProfileDatasets(
        datasets=curated.datasets,
        parts=curated.parts,
        count=ProcessExamples(ProcessesHere()),
        labels=curated.labels,
        limits=SMALL,
    )
    profiles = ProfileServicer(reading, datasets=of_datasets, clock=ingest.clock)
    server = DirectServer(
        settings_without_servers(),
        [
            (document_service_pb2_grpc.add_DocumentServiceServicer_to_server, documents),
            (source_service_pb2_grpc.add_SourceServiceServicer_to_server, sources),
            (dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server, datasets),
            (profile_service_pb2_grpc.add_ProfileServiceServicer_to_server, profiles),
        ],
        access=access_of(),
        audit=audit,
    )
    await server.start()
    address = f"127.0.0.1:{server.port}"
    async with (
        admin_channel(address, project="acme") as channel,
        admin_channel(address, project="globex") as other,
        admin_channel(address, project="No project") as anonymous,
    ):
        yield ApiClient(
            ingest=ingest,
            curated=curated,
            uploads=uploads,
            audit=audit,
            sources=source_service_pb2_grpc.SourceServiceStub(channel),
            documents=document_service_pb2_grpc.DocumentServiceStub(channel),
            datasets=dataset_service_pb2_grpc.DatasetServiceStub(channel),
            profiles=profile_service_pb2_grpc.ProfileServiceStub(channel),
            globex=document_service_pb2_grpc.DocumentServiceStub(other),
            globex_datasets=dataset_service_pb2_grpc.DatasetServiceStub(other),
            unauthenticated=document_service_pb2_grpc.DocumentServiceStub(anonymous),
        )
    await server.stop(1.0)
