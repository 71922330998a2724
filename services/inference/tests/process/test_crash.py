"""inference passes the crash suite: each question has one answer, and each branch one merge, whenever it is killed.

It computes as a weaker processor does.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.inference.tests.process.harness import BUCKET, CONTENT, asked, deployment
from services.inference.tests.process.stub_services import stub_services
from services.inference.tests.tiny_model import upload, write_tiny_model
from tidemill.inference.v1.deployment_service_pb2 import CreateDeploymentRequest
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.inference_pb2 import INFERENCE_STATE_COMPLETED
from tidemill.inference.v1.inference_service_pb2 import ListInferencesRequest
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent, PromptOrigin
from tidemill.inference.v1.prompt_service_pb2 import (
    CreatePromptRequest,
    GetPromptRequest,
    MergePromptRequest,
    UpdatePromptRequest,
)
from tidemill.inference.v1.prompt_service_pb2_grpc import PromptServiceStub
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.service_process import ServiceProcess
from tidemill_testkit.stack import unique_name
from tidemill_testkit.weaker_processor import NO_MORE_THAN_AVX2, WEAKER


@dataclass(kw_only=True)
class InferenceProcess(ServiceProcess):
    """Can be killed and restarted on the same database and folder."""

    service = "inference"
    imports_late = ("tidemill_inference.engines.loading:import_libraries",)

    stub_services: str

    def _settings(self) -> dict[str, str]:
        return {
            "HTTP_PORT": "0",
            "RAG_ADDRESS": self.stub_services,
            "INGEST_ADDRESS": self.stub_services,
            "TRAINER_ADDRESS": self.stub_services,
            "DATA_DIR": str(self.folder / "data"),
            "ENGINE_CACHE_TOKENS": "2048",
            "ENGINE_THREADS": "1",
        }


@dataclass(frozen=True)
class Questions:
    """Questions of a product, and branches of its prompt that are merged; what got no answer is repeated."""

    process: InferenceProcess
    project: str
    topics: Sequence[str] = ("tidemill.inference.inference.v1", "tidemill.inference.prompt.v1")
    answered: dict[str, str] = field(default_factory=dict)

    async def declare(self) -> None:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project, timeout_s=60) as channel:
            prompt = Prompt(id="answer", content=CONTENT)
            await PromptServiceStub(channel).CreatePrompt(CreatePromptRequest(prompt=prompt))
            request = CreateDeploymentRequest(deployment=deployment())
            await DeploymentServiceStub(channel).CreateDeployment(request)

    async def send(self, piece: str) -> None:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project, timeout_s=60) as channel:
            answer = await InferenceServiceStub(channel).Generate(asked(f"What is {piece}?", request_id=piece))
            await _merge_a_branch(PromptServiceStub(channel), piece)
        assert "float32" in answer.inference.variant.engine
        self.answered[answer.inference.id] = piece

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project, timeout_s=60) as channel:
            listed = await InferenceServiceStub(channel).ListInferences(ListInferencesRequest())
            prompt = (await PromptServiceStub(channel).GetPrompt(GetPromptRequest(id="answer"))).prompt
        completed = [each.id for each in listed.inferences if each.state == INFERENCE_STATE_COMPLETED]
        answered = Counter(self.answered.get(each, each) for each in completed)
        merged = Counter(each.prompt for version in prompt.versions for each in version.merged_from)
        assert len(prompt.versions) == 1 + merged.total()
        both = Counter({each: max(count, merged[each]) for each, count in answered.items() if merged[each]})
        return [*both.elements(), *(answered.keys() - set(self.answered.values()))]


async def _merge_a_branch(prompts: PromptServiceStub, piece: str) -> None:
    branch = Prompt(id=piece, forked_from=PromptOrigin(prompt="answer"))
    await prompts.CreatePrompt(CreatePromptRequest(prompt=branch, request_id=f"fork-{piece}"))
    changed = Prompt(id=piece, content=PromptContent(system=f"Answer as {piece}.", user=CONTENT.user))
    mask = FieldMask(paths=["content"])
    await prompts.UpdatePrompt(UpdatePromptRequest(prompt=changed, update_mask=mask, request_id=f"change-{piece}"))
    await prompts.MergePrompt(MergePromptRequest(id="answer", source=piece, request_id=f"merge-{piece}"))


@pytest.fixture
async def questions(stack: Addresses, tmp_path: Path) -> AsyncIterator[Questions]:
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.ensure_bucket(BUCKET)
    async with stub_services() as (registry, *_, address):
        process = InferenceProcess(stack=stack, folder=tmp_path, stub_services=address, variables=WEAKER)
        made = Questions(process, unique_name("acme"))
        folder = await asyncio.to_thread(write_tiny_model, tmp_path / "tiny")
        digest, files = await upload(store, BUCKET, made.project, folder)
        registry.add_files("tiny", digest, files)
        await asyncio.to_thread(process.start)
        await made.declare()
        yield made
        await asyncio.to_thread(process.kill)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


async def test_each_question_has_one_answer_whenever_the_process_is_killed(questions: Questions) -> None:
    await outlives_a_kill(questions)

    lines = [json.loads(each) for each in questions.process.log.read_text().splitlines() if "torch_computes" in each]
    assert {each["numeric_format"] for each in lines} == {"float32"}
    assert {each["cpu_capability"] for each in lines} <= NO_MORE_THAN_AVX2
