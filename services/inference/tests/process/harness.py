"""inference as a whole, on real servers, with a tiny model and its neighbours."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.inference.tests.process.stub_services import Registry, stub_services
from services.inference.tests.tiny_model import upload, write_tiny_model
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_pb2,
    deployment_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    prompt_pb2,
    prompt_service_pb2_grpc,
)
from tidemill_core.errors import TidemillError
from tidemill_inference.app import build_app
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.app import serve
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel, installation
from tidemill_testkit.ports import free_port
from tidemill_testkit.sole_member import SoleMember
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_testkit.stubs.rag import StubRag

BUCKET = "tidemill-trainer-exchange"
CONTENT = prompt_pb2.PromptContent(
    system="Answer from the passages.",
    user="{% for passage in passages %}[{{ passage.id }}] {{ passage.text }}\n{% endfor %}{{ question }}",
)


@dataclass(frozen=True, kw_only=True)
class Harness:
    """A running inference, and what a test reaches it by."""

    project: str
    data: Path
    http: str
    grpc_address: str
    registry: Registry
    rag: StubRag
    datasets: StubDatasets
    settings: InferenceSettings
    store: ObjectStore
    stack: Addresses
    prompts: prompt_service_pb2_grpc.PromptServiceStub
    deployments: deployment_service_pb2_grpc.DeploymentServiceStub
    inferences: inference_service_pb2_grpc.InferenceServiceStub

    async def add_model(self, model: str, folder: Path, *, base: str = "") -> None:
        """Register a folder's files as trainer would; with a base they are an adapter."""
        digest, files = await upload(self.store, BUCKET, self.project, folder)
        self.registry.add_files(model, digest, files, base=base)


def deployment(name: str = "helpdesk", **changes: object) -> deployment_pb2.Deployment:
    return deployment_pb2.Deployment(
        **{  # type: ignore[arg-type] # the test says what it changes
            "id": name,
            "model": "tiny",
            "prompt": "answer",
            "retrieval": configuration_pb2.Retrieval(collection="handbook", top_k=2),
            "sampling": configuration_pb2.Sampling(max_output_tokens=24),
            **changes,
        }
    )


def asked(text: str = "What does os.walk do?", **changes: object) -> inference_service_pb2.GenerateRequest:
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=text)])
    return inference_service_pb2.GenerateRequest(
        **{  # type: ignore[arg-type] # the test says what it changes
            "deployment": "helpdesk",
            "messages": [message],
            **changes,
        }
    )


@asynccontextmanager
async def running_inference(
    stack: Addresses,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    project: str = "",
    changes: Mapping[str, object] | None = None,
) -> AsyncIterator[Harness]:
    """Run it; `changes` are settings that differ."""
    project = project or unique_name("acme")
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.ensure_bucket(BUCKET)
    async with stub_services() as (registry, rag, datasets, address):
        settings = _settings(stack, folder, address).model_copy(update=changes)
        stop, sole = asyncio.Event(), SoleMember("inference")
        await asyncio.to_thread(sole.take)
        app = await build_app(settings, environment=environment or {})
        living = asyncio.create_task(serve(app, stop=stop))
        grpc_address = f"127.0.0.1:{settings.grpc_port}"
        channel = admin_channel(grpc_address, name="inference", project=project, timeout_s=60)
        harness = Harness(
            project=project,
            data=settings.data_dir,
            settings=settings,
            http=f"http://127.0.0.1:{settings.http_port}",
            grpc_address=grpc_address,
            registry=registry,
            rag=rag,
            datasets=datasets,
            store=store,
            stack=stack,
            prompts=prompt_service_pb2_grpc.PromptServiceStub(channel),
            deployments=deployment_service_pb2_grpc.DeploymentServiceStub(channel),
            inferences=inference_service_pb2_grpc.InferenceServiceStub(channel),
        )
        try:
            await harness.add_model("tiny", await asyncio.to_thread(write_tiny_model, folder / "tiny"))
            await _open(harness)
            yield harness
        finally:
            await channel.close()
            stop.set()
            ended = await living
            sole.leave()
            assert ended == 0


@asynccontextmanager
async def another_replica(harness: Harness, folder: Path) -> AsyncIterator[Harness]:
    """Run a second process's worth of the same service: other ports and files, the same stores."""
    settings = harness.settings.model_copy(
        update={"grpc_port": free_port(), "http_port": free_port(), "data_dir": folder / "data"}
    )
    stop = asyncio.Event()
    living = asyncio.create_task(serve(await build_app(settings, environment={}), stop=stop))
    address = f"127.0.0.1:{settings.grpc_port}"
    channel = admin_channel(address, name="inference", project=harness.project, timeout_s=60)
    replica = replace(
        harness,
        data=settings.data_dir,
        http=f"http://127.0.0.1:{settings.http_port}",
        grpc_address=address,
        settings=settings,
        prompts=prompt_service_pb2_grpc.PromptServiceStub(channel),
        deployments=deployment_service_pb2_grpc.DeploymentServiceStub(channel),
        inferences=inference_service_pb2_grpc.InferenceServiceStub(channel),
    )
    try:
        await _open(replica)
        yield replica
    finally:
        await channel.close()
        stop.set()
        assert await living == 0


async def _open(harness: Harness) -> None:
    """Wait until the API is open."""
    for _ in range(1200):
        try:
            await harness.inferences.ListInferences(inference_service_pb2.ListInferencesRequest(page_size=1))
        except TidemillError:
            await asyncio.sleep(0.1)
        else:
            return
    message = "inference did not open in time"
    raise AssertionError(message)


def _settings(stack: Addresses, folder: Path, stub_service: str) -> InferenceSettings:
    return InferenceSettings(
        access_issuers=(installation().setting,),
        grpc_port=free_port(),
        http_port=free_port(),
        kafka_bootstrap_servers=stack.kafka,
        mongo_uri=stack.mongo,
        mongo_database=unique_name("inference"),
        s3_endpoint=stack.s3.endpoint,
        s3_access_key=stack.s3.access_key,
        s3_secret_key=stack.s3.secret_key,
        rag_address=stub_service,
        ingest_address=stub_service,
        trainer_address=stub_service,
        data_dir=folder / "data",
        engine_cache_tokens=2048,
        engine_threads=1,
        probe_interval_s=1.0,
        shutdown_grace_s=60.0,
    )
