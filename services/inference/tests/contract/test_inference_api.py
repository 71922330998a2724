"""inference and the stubs that other services are tested with answer alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from services.inference.tests.caching.cached import InMemorySavings
from services.inference.tests.fakes import DirectTemplates
from services.inference.tests.generation.test_show_prompt import Documents, spans
from services.inference.tests.openai_api.apis import settings
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_pb2, deployment_service_pb2, inference_pb2, prompt_pb2
from tidemill.inference.v1 import inference_service_pb2 as rpc
from tidemill.inference.v1.deployment_service_pb2_grpc import (
    DeploymentServiceStub,
    add_DeploymentServiceServicer_to_server,
)
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_inference.caching.count import ReadSavings
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.grpc import GrpcDeploymentService
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.erase_inference import EraseInference
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_kit.access.access import Access
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import TestIssuer, access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences, message_of, text_of

ANSWER = "os.walk walks a directory tree."
HELPDESK = deployment_service_pb2.GetDeploymentRequest(id="helpdesk")


@dataclass(frozen=True, kw_only=True)
class Api:
    """Clients of two projects, of which acme has the deployment."""

    deployments: DeploymentServiceStub
    inferences: InferenceServiceStub
    globex_deployments: DeploymentServiceStub
    globex_inferences: InferenceServiceStub

    async def ask(self, text: str = "What does os.walk do?", **fields: object) -> inference_pb2.Inference:
        return (await self.inferences.Generate(asked(text, **fields))).inference

    async def record(self, inference: str) -> inference_pb2.Inference:
        return (await self.inferences.GetInference(rpc.GetInferenceRequest(id=inference))).inference

    async def prompt(self, inference: str) -> rpc.GetInferencePromptResponse:
        return await self.inferences.GetInferencePrompt(rpc.GetInferencePromptRequest(id=inference))


def asked(text: str = "What does os.walk do?", **fields: object) -> rpc.GenerateRequest:
    turns = [
        message_of(content_pb2.ROLE_USER, "Hello"),
        message_of(content_pb2.ROLE_ASSISTANT, "Hello, what is it?"),
        message_of(content_pb2.ROLE_USER, text),
    ]
    return rpc.GenerateRequest(**{"deployment": "helpdesk", "messages": turns, **fields})  # type: ignore[arg-type]


@dataclass(kw_only=True)
class Real:
    """inference's own services, on stores and engines in memory."""

    rolling: RolloutHarness = field(default_factory=RolloutHarness)

    def server(self, access: Access | None = None) -> GrpcServer:
        harness, rolling = self.rolling.harness, self.rolling
        harness.rag.passages = spans(ANSWER, "json.dumps writes an object as text.")
        resolve = ResolveConfiguration(
            prompts=harness.prompts, models=harness.registry, retriever=harness.rag, candidates=rolling.registry
        )
        crud = DeploymentCrud(
            deployments=harness.deployments,
            resolve=resolve,
            outcomes=rolling.outcomes,
            metrics=rolling.declared,
            clock=harness.clock,
        )
        deployments = GrpcDeploymentService(
            harness.deployments,
            crud,
            count=rolling.count,
            rollouts=rolling.commands,
            savings=ReadSavings(store=InMemorySavings(), clock=harness.clock),
        )
        shows = ShowPrompt(
            reading=harness.reading,
            prompts=harness.prompts,
            templates=DirectTemplates(),
            texts=Documents(harness.rag.passages),
        )
        erase = EraseEndUser(inferences=harness.inferences, clock=harness.clock)
        erase_one = EraseInference(inferences=harness.inferences, clock=harness.clock)
        inferences = GrpcInferenceService(
            harness.answer, harness.reading, shows, erase_inference=erase_one, erase=erase
        )
        return GrpcServer(
            settings(),
            [
                (add_DeploymentServiceServicer_to_server, deployments),
                (add_InferenceServiceServicer_to_server, inferences),
            ],
            access=access or access_of(),
            audit=RecordedCalls(),
        )


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Api]:
    address = f"127.0.0.1:{port}"
    async with admin_channel(address, project="acme") as acme, admin_channel(address, project="globex") as globex:
        yield Api(
            deployments=DeploymentServiceStub(acme),
            inferences=InferenceServiceStub(acme),
            globex_deployments=DeploymentServiceStub(globex),
            globex_inferences=InferenceServiceStub(globex),
        )


@pytest.fixture(params=["inference", "stub"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    server = Real().server()
    await server.start()
    async with clients(server.port) as real:
        if request.param == "inference":
            yield real
        else:
            async with stubbed(real) as stub:
                yield stub
    await server.stop(1.0)


@asynccontextmanager
async def stubbed(real: Api) -> AsyncIterator[Api]:
    """Serve stubs that have what inference has, and answer as it does."""
    deployments = StubDeployments()  # type: ignore[abstract] # they have what others call
    deployments.add((await real.deployments.GetDeployment(HELPDESK)).deployment, project="acme")
    found = (await real.ask("to find the passages")).passages
    inferences = StubInferences(deployments, answers=lambda _: ANSWER, passages=found)  # type: ignore[abstract] # ditto
    server = grpc.aio.server()
    add_DeploymentServiceServicer_to_server(deployments, server)
    add_InferenceServiceServicer_to_server(inferences, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with clients(port) as api:
        yield api
    await server.stop(None)


async def test_a_deployment_says_what_is_live_and_is_not_found_by_another_project(api: Api) -> None:
    found = (await api.deployments.GetDeployment(HELPDESK)).deployment

    assert (found.id, found.live.model) == ("helpdesk", "smollm2@1")
    assert found.live.digest
    for stub, request in (
        (api.globex_deployments, HELPDESK),
        (api.deployments, deployment_service_pb2.GetDeploymentRequest(id="nope")),
    ):
        with pytest.raises(NotFound) as missing:
            await stub.GetDeployment(request)
        assert missing.value.reason == "DEPLOYMENT_NOT_FOUND"


async def test_an_answer_names_what_answered_and_its_passages_and_is_recorded_without_their_texts(api: Api) -> None:
    live = (await api.deployments.GetDeployment(HELPDESK)).deployment.live

    answer = await api.ask(end_user="u1", labels={"page": "vpn"})
    record = await api.record(answer.id)

    assert [text_of(each) for each in answer.output] == [ANSWER]
    assert (answer.project, answer.deployment, answer.end_user) == ("acme", "helpdesk", "u1")
    assert dict(answer.labels) == {"page": "vpn"}
    assert (answer.variant.configuration, answer.variant.model) == (live.digest, live.model)
    assert (answer.state, answer.finish_reason, answer.purpose) == (
        inference_pb2.INFERENCE_STATE_COMPLETED,
        "stop",
        inference_pb2.PURPOSE_LIVE,
    )
    assert answer.HasField("citation_valid")
    assert [(each.id, bool(each.text)) for each in answer.passages] == [("1", True), ("2", True)]
    assert [(each.id, bool(each.text)) for each in record.passages] == [("1", False), ("2", False)]
    assert [text_of(each) for each in record.output] == [ANSWER]
    assert [text_of(each) for each in record.messages] == ["Hello", "Hello, what is it?", "What does os.walk do?"]


async def test_a_repeated_request_is_the_same_answer_whole_or_streamed(api: Api) -> None:
    answer = await api.ask(request_id="r1")
    again = await api.ask(request_id="r1")
    steps = [
        step async for step in api.inferences.GenerateStream(rpc.GenerateStreamRequest(request=asked(request_id="r1")))
    ]

    assert (again.id, steps[-1].finished.id) == (answer.id, answer.id)
    assert await api.record(answer.id) == again
    with pytest.raises(InvalidInput) as refused:
        await api.ask("Something else?", request_id="r1")
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_a_stream_begins_with_the_id_and_ends_with_the_whole_answer(api: Api) -> None:
    request = rpc.GenerateStreamRequest(request=asked())
    first, *deltas, last = [step async for step in api.inferences.GenerateStream(request)]

    assert [step.sequence for step in (first, *deltas, last)] == list(range(1, len(deltas) + 3))
    assert first.started.id == last.finished.id
    assert "".join(step.delta.text for step in deltas) == text_of(last.finished.output[0]) == ANSWER


async def test_an_evaluation_has_another_model_answer_on_given_passages(api: Api) -> None:
    given = [content_pb2.Passage(id="9", document="d9", version=1, end=4, text="text")]

    answer = await api.ask(purpose=inference_pb2.PURPOSE_EVALUATION, variant="lora@1", passages=given)

    assert answer.variant.model == "lora@1"
    assert [(each.id, each.document, each.text) for each in answer.passages] == [("1", "d9", "text")]


@pytest.mark.parametrize("fields", [{"variant": "lora@1"}, {"passages": [content_pb2.Passage(text="text")]}])
async def test_a_live_question_chooses_neither_model_nor_passages(api: Api, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await api.ask(**fields)  # type: ignore[arg-type] # parametrized

    assert [each.field for each in refused.value.violations] == list(fields)


async def test_a_question_to_no_deployment_is_not_answered(api: Api) -> None:
    with pytest.raises(NotFound) as missing:
        await api.ask(deployment="nope")

    assert missing.value.reason == "DEPLOYMENT_NOT_FOUND"


async def test_the_prompt_of_a_record_has_what_was_asked(api: Api) -> None:
    answer = await api.ask(principals=["staff"], variables=ParseDict({}, Struct()))

    prompt = await api.prompt(answer.id)

    assert (prompt.question, list(prompt.principals)) == ("What does os.walk do?", ["staff"])
    assert [text_of(each) for each in prompt.earlier] == ["Hello", "Hello, what is it?"]
    assert prompt.question in text_of(prompt.messages[-1])
    assert MessageToDict(prompt.variables) == {}


async def test_a_prompt_that_is_not_recorded_cannot_be_shown(api: Api) -> None:
    answer = await api.ask(record_mode=deployment_pb2.RECORD_MODE_METADATA)

    with pytest.raises(PreconditionFailed) as refused:
        await api.prompt(answer.id)

    assert refused.value.reason == "PROMPT_NOT_RECORDED"
    record = await api.record(answer.id)
    assert (list(record.messages), list(record.output), len(record.passages)) == ([], [], 2)


async def test_a_record_is_not_found_by_another_project_nor_one_that_was_never_made(api: Api) -> None:
    answer = await api.ask()

    for stub, inference in ((api.globex_inferences, answer.id), (api.inferences, "nope")):
        for call in (
            stub.GetInference(rpc.GetInferenceRequest(id=inference)),
            stub.GetInferencePrompt(rpc.GetInferencePromptRequest(id=inference)),
        ):
            with pytest.raises(NotFound) as missing:
                await call
            assert missing.value.reason == "INFERENCE_NOT_FOUND"


async def test_the_records_of_an_end_user_are_counted_and_erased(api: Api) -> None:
    theirs = [await api.ask(end_user="u1"), await api.ask("Why?", end_user="u1")]
    others = await api.ask(end_user="u2")

    counted = await api.inferences.EraseEndUser(rpc.EraseEndUserRequest(end_user="u1", validate_only=True))
    erased = await api.inferences.EraseEndUser(rpc.EraseEndUserRequest(end_user="u1"))
    again = await api.inferences.EraseEndUser(rpc.EraseEndUserRequest(end_user="u1"))

    assert (counted.erased, erased.erased, again.erased, erased.more) == (2, 2, 0, False)
    for each in theirs:
        left = await api.record(each.id)
        assert (left.end_user, list(left.messages), list(left.output), list(left.passages)) == ("", [], [], [])
        with pytest.raises(PreconditionFailed):
            await api.prompt(each.id)
    assert (await api.record(others.id)).end_user == "u2"
    with pytest.raises(InvalidInput, match="end_user"):
        await api.inferences.EraseEndUser(rpc.EraseEndUserRequest())


@pytest.mark.parametrize("streamed", [False, True])
async def test_where_credentials_are_demanded_they_say_who_asks(tmp_path: Path, *, streamed: bool) -> None:
    issuer, real = TestIssuer(tmp_path), Real()
    server = real.server(access=access_of(issuer))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = InferenceServiceStub(channel)

        async def ask(*roles: str, **fields: Any) -> inference_pb2.Inference:  # noqa: ANN401 - fields of a request
            key = issuer.token("acme", *roles, groups=frozenset({"staff"}))
            sent = (("authorization", f"Bearer {key}"),)
            if not streamed:
                return (await stub.Generate(asked(**fields), metadata=sent)).inference
            stream = stub.GenerateStream(rpc.GenerateStreamRequest(request=asked(**fields)), metadata=sent)
            return [step async for step in stream][-1].finished

        plain = await ask("contributor")
        for field, named in (("principals", ["group:hr"]), ("end_user", "victim-0")):
            with pytest.raises(grpc.aio.AioRpcError, match=f"{field}: .*act_for_users") as refused:
                await ask("contributor", **{field: named})
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        for_another = await ask("operator", end_user="customer-7", principals=["group:hr"])
        draft: dict[str, Any] = {
            "purpose": inference_pb2.PURPOSE_EVALUATION,
            "unsaved_prompt": prompt_pb2.PromptContent(user="Draft: {{ question }}"),
        }
        with pytest.raises(grpc.aio.AioRpcError, match="unsaved_prompt: takes the role operator") as refused:
            await ask("contributor", **draft)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        drafted = await ask("operator", **draft)
    await server.stop(1.0)

    assert drafted.variant.prompt.startswith("unsaved:")

    assert (plain.end_user, for_another.end_user) == ("user:ada", "customer-7")
    searched = {principals for _, principals in real.rolling.harness.rag.asked}
    assert searched == {("group:staff", "user:ada"), ("group:hr",)}
