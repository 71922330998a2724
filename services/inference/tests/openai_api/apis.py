"""The OpenAI-compatible API on a real server, with an answer that the test scripts."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from services.inference.tests.fakes import Registry
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill_core.application import Caller, Request, derived_id
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.engines.ports import Capability, ModelVersion
from tidemill_inference.generation.domain.content import Citation, Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import Inference, State, Usage, Variant
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.ports import Delta, Finished, Started, Step
from tidemill_inference.openai_api.feedback import RemoteFeedback
from tidemill_inference.openai_api.routes import Answering, OpenAiApi
from tidemill_inference.served_models.domain.served_model import DeclaredModel
from tidemill_inference.served_models.read_served_models import ReadServedModels
from tidemill_kit.http.feedback import HttpFeedback, TokenRefused
from tidemill_kit.http.server import HttpServer
from tidemill_kit.http.signed_tokens import SignedTokens
from tidemill_kit.outgoing.client import authorities
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates

BORN = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
QUESTION = "How do I reset my Kestrel password?"
ASKED: ChatCompletionUserMessageParam = {"role": "user", "content": QUESTION}
MAX_BODY_BYTES = 4096
BODY = {"model": "helpdesk", "messages": [{"role": "user", "content": QUESTION}]}
PASSAGE = Passage(id="1", document="d-1", version=2, start=0, end=9, score=0.75, key="kb/1", text="Kestrels.")


@cache
def shop_key() -> str:
    """Return the key of a product's backend in acme, which asks for its users."""
    return installation().token("acme", "operator", subject="service_account:shop")


class ApiSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="API_")


@cache
def settings() -> ApiSettings:
    given: dict[str, Any] = {
        "grpc_port": 0,
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "mongo_uri": "mongodb://127.0.0.1:1",
        "mongo_database": "door",
        "s3_endpoint": "127.0.0.1:1",
        "s3_access_key": "key",
        "s3_secret_key": SecretStr("secret"),
        "log_format": "json",
        "log_level": "debug",
        "access_issuers": (installation().setting,),
    }
    return ApiSettings(**given)


class ScriptedAnswers:
    """Stands for AnswerQuestion: reports its script's texts, raises its errors, and waits where it says to.

    An error that comes first is raised before anything is reported.
    """

    def __init__(
        self,
        *script: str | Exception | asyncio.Event,
        passages: tuple[Passage, ...] = (PASSAGE,),
        begins_late: bool = False,
    ) -> None:
        self.script = script or ("Press ", "reset.")
        self.passages = passages
        self.begins_late = begins_late
        """Whether it waits for the first event before it says who answers."""
        self.asked: list[tuple[Caller, Question, Request]] = []
        self.left = asyncio.Event()
        """Set when the client has left, or has received all."""

    async def __call__(self, caller: Caller, question: Question, *, request: Request) -> AsyncGenerator[Step, None]:
        question.check()
        self.asked.append((caller, question, request))
        text = ""
        try:
            if isinstance(self.script[0], Exception):
                raise self.script[0]
            if self.begins_late and isinstance(self.script[0], asyncio.Event):
                await self.script[0].wait()
            yield Started(inference=inference(caller, question, request))
            for each in self.script:
                match each:
                    case str():
                        text += each
                        yield Delta(text=each)
                    case asyncio.Event():
                        await each.wait()
                    case _:
                        raise each
            finished = answered(inference(caller, question, request), text)
            yield Finished(inference=replace(finished, passages=self.passages))
        finally:
            self.left.set()


def inference(caller: Caller, question: Question, request: Request) -> Inference:
    return Inference(
        id=derived_id(caller.project, "inference", request.id),
        project=caller.project,
        create_time=BORN,
        request_id=request.id,
        request_digest=request.digest,
        deployment=question.deployment,
        variant=Variant(name="live", configuration="c0ffee", model="tiny@1", prompt="answer@2", index=3, engine="e"),
    )


def answered(started: Inference, text: str) -> Inference:
    part = Part(text=text, citations=(Citation(start=0, end=len(text), passage="1"),))
    return replace(
        started,
        state=State.COMPLETED,
        output=(Message(role=Role.ASSISTANT, parts=(part,)),),
        passages=(PASSAGE,),
        usage=Usage(input_tokens=20, output_tokens=3, first_token_s=0.1, total_s=0.2, search_s=0.05),
        finish_reason="stop",
        warnings=("fallback used",),
        citation_valid=1.0,
    )


def deployment(name: str, *, project: str = "acme", model: str = "tiny@1") -> Deployment:
    live = Configuration.of(model=model, prompt="answer@2", retrieval=None, sampling=Sampling())
    spec = DeploymentSpec(model="tiny", prompt="answer")
    return Deployment(id=name, project=project, create_time=BORN, spec=spec, live=live)


class Facts:
    """Implements `ModelFacts`: of `unread` nothing is known, and all others take as many tokens as TinyStories."""

    async def declared(self, _caller: Caller, model: ModelVersion) -> DeclaredModel:
        if model.id.startswith("unread"):
            return DeclaredModel()
        return DeclaredModel(context_tokens=2048, capabilities=frozenset({Capability.TOOLS, Capability.LOGPROBS}))


TOKENS = SignedTokens(purpose="feedback", key=b"k" * 32, lifetime=timedelta(days=1), refusal=TokenRefused)


@dataclass(frozen=True)
class ApiClient:
    """A running API, httpx on it as project acme, and OpenAI's client on it."""

    server: HttpServer
    http: httpx.AsyncClient
    openai: AsyncOpenAI

    async def ask(self, *, headers: dict[str, str] | None = None, **changes: object) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json={**BODY, **changes}, headers=headers)


@asynccontextmanager
async def open_api(
    answers: Answering,
    *,
    feedback: FeedbackServiceStub | None = None,
    tokens: SignedTokens | None = TOKENS,
    **options: Any,  # noqa: ANN401 - options of OpenAiDoor
) -> AsyncIterator[ApiClient]:
    deployments = InMemoryAggregates(
        deployment("helpdesk"),
        deployment("sales"),
        deployment("other", project="b"),
        codec=DEPLOYMENTS,
        missing=DeploymentNotFound,
    )
    models = ReadServedModels(deployments=deployments, models=Registry(tiny=1), facts=Facts())
    api = OpenAiApi(
        answers,
        models,
        feedback=HttpFeedback(
            rpcs=RemoteFeedback(service=feedback, timeout_s=5.0),
            tokens=tokens,
            setting="INFERENCE_FEEDBACK_TOKEN_KEY",
            clock=FixedClock(),
            max_body_bytes=MAX_BODY_BYTES,
        ),
        **{
            "access": access_of(),
            "max_body_bytes": MAX_BODY_BYTES,
            "stall_s": 10.0,
            "keep_alive_s": 10.0,
            **options,
        },
    )
    server = HttpServer(api.app(), host="127.0.0.1", port=0, grace_s=1.0)
    await server.start()
    address = f"http://127.0.0.1:{server.port}"
    headers = {"OpenAI-Project": "acme", "Authorization": f"Bearer {shop_key()}"}
    try:
        async with (
            httpx.AsyncClient(base_url=address, headers=headers, timeout=10, verify=authorities()) as http,
            DefaultAsyncHttpxClient(timeout=10, verify=authorities()) as shared,  # each would read all authorities
            AsyncOpenAI(
                base_url=f"{address}/v1", api_key=shop_key(), max_retries=0, timeout=10, http_client=shared
            ) as openai,
        ):
            yield ApiClient(server, http, openai)
    finally:
        await server.stop()


def events_of(response: httpx.Response) -> list[str]:
    """Return the data of the events of a stream."""
    return [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]


class Lines:
    """The JSON lines that the process has logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def named(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]
