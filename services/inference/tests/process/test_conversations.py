"""Conversations through public APIs only, on real servers: kept over a kill, and each caller's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import openai
import pytest
import pytest_asyncio

from services.inference.tests.process.harness import BUCKET, CONTENT, Harness, asked, deployment, running_inference
from services.inference.tests.process.stub_services import stub_services
from services.inference.tests.process.test_crash import InferenceProcess
from services.inference.tests.tiny_model import upload, write_tiny_model
from tidemill.inference.v1 import conversation_service_pb2 as rpc
from tidemill.inference.v1.conversation_pb2 import Conversation, ConversationPolicy
from tidemill.inference.v1.conversation_service_pb2_grpc import ConversationServiceStub
from tidemill.inference.v1.deployment_service_pb2 import CreateDeploymentRequest
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.inference_service_pb2 import EraseEndUserRequest
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.inference.v1.prompt_pb2 import Prompt
from tidemill.inference.v1.prompt_service_pb2 import CreatePromptRequest
from tidemill.inference.v1.prompt_service_pb2_grpc import PromptServiceStub
from tidemill_core.errors import NotFound, PermissionDenied, TidemillError
from tidemill_core.grpc.client import open_channel
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel, admin_token, installation
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKING = ConversationPolicy(max_turns=2, summary_model="tiny", memory_model="tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    async with running_inference(stack, tmp_path_factory.mktemp("inference")) as running:
        await running.prompts.CreatePrompt(CreatePromptRequest(prompt=Prompt(id="answer", content=CONTENT)))
        for declared in (deployment(retrieval=None), deployment("working", retrieval=None, conversation=WORKING)):
            await running.deployments.CreateDeployment(CreateDeploymentRequest(deployment=declared))
        await running.inferences.Generate(asked(deployment="working", conversation="first", end_user="u0"))
        client = connect(stack.mongo, timeout_s=10)
        leases = client[running.settings.mongo_database]["conversation_leases"]
        await eventually(lambda: leases.count_documents({}))  # the first one creates their index, before the tests
        client.close()
        yield running


def channel(harness: Harness, *roles: str, subject: str = "") -> grpc.aio.Channel:
    """Return a channel of the admin, or of a subject."""
    if not subject:
        return admin_channel(harness.grpc_address, project=harness.project, timeout_s=60)
    token = installation().token(harness.project, *roles, subject=subject)
    return open_channel(harness.grpc_address, credential=lambda: token, timeout_s=60)


async def conversation(harness: Harness, name: str) -> Conversation:
    async with channel(harness) as admin:
        service = ConversationServiceStub(admin)
        return (await service.GetConversation(rpc.GetConversationRequest(id=name))).conversation


async def test_a_conversation_by_grpc_goes_on_by_http_and_is_one(harness: Harness) -> None:
    name = unique_name("c")
    first = (
        await harness.inferences.Generate(
            asked("My number is 4711.", conversation=name, end_user="u1", request_id=name)
        )
    ).inference
    client = openai.AsyncOpenAI(
        base_url=f"{harness.http}/v1", api_key=admin_token(), default_headers={"OpenAI-Project": harness.project}
    )
    body: dict[str, Any] = {"tidemill": {"conversation": name}}

    answer = await client.chat.completions.create(
        model="helpdesk", messages=[{"role": "user", "content": "And now?"}], user="u1", extra_body=body
    )
    again = await harness.inferences.Generate(
        asked("My number is 4711.", conversation=name, end_user="u1", request_id=name)
    )

    extra = answer.model_extra or {}
    assert extra["tidemill"]["conversation"] == name
    assert first.conversation == again.inference.conversation == name
    found = await conversation(harness, name)
    assert [turn.inference for turn in found.turns] == [first.id, answer.id]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > first.usage.input_tokens
    with pytest.raises(openai.PermissionDeniedError, match="another end user began"):
        await client.chat.completions.create(
            model="helpdesk", messages=[{"role": "user", "content": "And now?"}], user="u2", extra_body=body
        )
    with pytest.raises(openai.BadRequestError, match="use 1 to 128"):
        await client.chat.completions.create(
            model="helpdesk",
            messages=[{"role": "user", "content": "x"}],
            extra_body={"tidemill": {"conversation": "/"}},
        )
    await client.close()


async def test_another_caller_of_the_project_neither_goes_on_nor_reads_nor_deletes(harness: Harness) -> None:
    name = unique_name("c")
    async with channel(harness, "contributor", subject="user:eve") as eve:
        await InferenceServiceStub(eve).Generate(asked(conversation=name))
        mine = await ConversationServiceStub(eve).ListConversations(rpc.ListConversationsRequest())
        assert [each.id for each in mine.conversations] == [name]
        assert mine.conversations[0].end_user == "user:eve"
    async with channel(harness, "contributor", subject="user:bob") as bob:
        service = ConversationServiceStub(bob)
        with pytest.raises(PermissionDenied) as refused:
            await InferenceServiceStub(bob).Generate(asked(conversation=name))
        assert refused.value.reason == "CONVERSATION_OF_ANOTHER"
        for call in (
            service.GetConversation(rpc.GetConversationRequest(id=name)),
            service.DeleteConversation(rpc.DeleteConversationRequest(id=name)),
        ):
            with pytest.raises(NotFound):
                await call
        assert not (await service.ListConversations(rpc.ListConversationsRequest())).conversations
    async with channel(harness, "contributor", subject="user:eve") as eve:
        service = ConversationServiceStub(eve)
        deleted = rpc.DeleteConversationRequest(id=name, request_id=unique_name("r"))
        assert (await service.DeleteConversation(deleted)).id == (await service.DeleteConversation(deleted)).id == name
        with pytest.raises(NotFound):
            await service.GetConversation(rpc.GetConversationRequest(id=name))


async def test_turns_are_summarised_and_facts_remembered_beside_answers_and_an_end_user_is_erased_with_all(
    harness: Harness,
) -> None:
    name, user = unique_name("c"), unique_name("u")
    for text in ("one", "two", "three"):
        await harness.inferences.Generate(asked(text, deployment="working", conversation=name, end_user=user))
    async with channel(harness) as admin:
        service = ConversationServiceStub(admin)

        async def summarised() -> bool:
            return (await conversation(harness, name)).summary.through == 2

        await eventually(summarised)
        answer = await harness.inferences.Generate(
            asked("four", deployment="working", conversation=name, end_user=user)
        )
        assert "history cut: the turns up to 2 are given as a summary" in answer.inference.warnings

        async def memories() -> list[str]:
            listed = await service.ListMemories(rpc.ListMemoriesRequest(filter=f'end_user = "{user}"'))
            return [each.id for each in listed.memories]

        async def erased() -> bool:
            return not (await harness.inferences.EraseEndUser(EraseEndUserRequest(end_user=user))).more

        await eventually(erased)
        with pytest.raises(NotFound):
            await service.GetConversation(rpc.GetConversationRequest(id=name))
        assert await memories() == []
        listed = await service.ListConversations(rpc.ListConversationsRequest(filter=f'end_user = "{user}"'))
        assert not listed.conversations


@pytest_asyncio.fixture(loop_scope="module")
async def process(stack: Addresses, tmp_path: Path) -> AsyncIterator[tuple[InferenceProcess, str]]:
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.ensure_bucket(BUCKET)
    async with stub_services() as (registry, *_, address):
        running, project = InferenceProcess(stack=stack, folder=tmp_path, stub_services=address), unique_name("acme")
        folder = await asyncio.to_thread(write_tiny_model, tmp_path / "tiny")
        digest, files = await upload(store, BUCKET, project, folder)
        registry.add_files("tiny", digest, files)
        await asyncio.to_thread(running.start)
        async with admin_channel(f"127.0.0.1:{running.port}", project=project, timeout_s=60) as admin:
            prompt = Prompt(id="answer", content=CONTENT)
            await PromptServiceStub(admin).CreatePrompt(CreatePromptRequest(prompt=prompt))
            declared = deployment(retrieval=None, conversation=WORKING)
            await DeploymentServiceStub(admin).CreateDeployment(CreateDeploymentRequest(deployment=declared))
        yield running, project
        await asyncio.to_thread(running.kill)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(running.database)
    client.close()


async def test_killed_in_a_turn_and_behind_one_a_conversation_keeps_each_turn_once_and_its_work_is_done(
    process: tuple[InferenceProcess, str],
) -> None:
    running, project = process

    async def ask(number: int) -> None:
        async with admin_channel(f"127.0.0.1:{running.port}", project=project, timeout_s=60) as admin:
            question = asked(f"turn {number}", conversation="c1", end_user="u1", request_id=f"r{number}")
            await InferenceServiceStub(admin).Generate(question)

    async def found() -> Conversation:
        async with admin_channel(f"127.0.0.1:{running.port}", project=project, timeout_s=60) as admin:
            service = ConversationServiceStub(admin)
            return (await service.GetConversation(rpc.GetConversationRequest(id="c1"))).conversation

    await ask(1)
    asking = asyncio.create_task(ask(2))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(running.kill)
    with suppress(TidemillError):  # it may have been answered
        await asking
    await asyncio.to_thread(running.start)
    await ask(2)
    await ask(3)
    await asyncio.to_thread(running.kill)  # before or while it works on the conversation
    await asyncio.to_thread(running.start)
    await ask(3)

    turns = (await found()).turns
    assert [turn.number for turn in turns] == sorted(turn.number for turn in turns)
    assert len({turn.inference for turn in turns}) == len(turns) == 3
    await eventually(lambda: _through(found))


async def _through(found: Any) -> bool:  # noqa: ANN401 - a function of the test
    through: int = (await found()).summary.through
    return through == 2
