"""Responses, of a model behind a provider that a test scripts, on stores that it can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from openai import AsyncOpenAI
from pydantic_settings import SettingsConfigDict

from services.inference.tests.engines.openai_server import Handler, OpenAiServer
from services.inference.tests.fakes import AnsweringHarness, helpdesk
from services.inference.tests.openai_api.apis import ApiClient, ApiSettings, settings
from services.inference.tests.openai_api.provided import WEATHER, provider, weather
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.erase_inference import EraseInference
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_inference.openai_api.responses.routes import HttpResponses
from tidemill_kit.grpc.server import admission_of
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_kit.http.settings import HttpSettings
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.audit import RecordedCalls

ASKED = "How is the weather at sea?"
TOOL: Any = {"type": "function", "strict": False, **WEATHER["function"]}


class RpcSettings(HttpSettings, ApiSettings):
    model_config = SettingsConfigDict(env_prefix="API_")


@dataclass(frozen=True, kw_only=True)
class Responding:
    """A running API with what is before and behind it."""

    server: OpenAiServer
    client: ApiClient
    harness: AnsweringHarness
    audit: RecordedCalls

    @property
    def openai(self) -> AsyncOpenAI:
        return self.client.openai

    def of(self, subject: str, project: str = "acme") -> AsyncOpenAI:
        """Return the client of a user who acts for no other one."""
        key = installation().token(project, "contributor", subject=subject)
        return self.openai.with_options(api_key=key)

    @property
    def asked(self) -> Any:  # noqa: ANN401 - JSON
        """What the model was asked last."""
        return self.server.asked[-1]["messages"]


@asynccontextmanager
async def responding(answer: Handler = weather, deployment: Deployment | None = None) -> AsyncIterator[Responding]:
    """Yield the API."""
    harness = AnsweringHarness(deployment=deployment or helpdesk(retrieval=None, allow_sampling_override=True))
    audit, given = RecordedCalls(), RpcSettings.model_validate({**settings().model_dump(), "http_port": 0})
    servicer = GrpcInferenceService(
        harness.answer,
        harness.reading,
        cast("Any", None),
        erase_inference=EraseInference(inferences=harness.inferences, clock=harness.clock),
        erase=EraseEndUser(inferences=harness.inferences, clock=harness.clock),
    )
    rpcs = HttpRpcs(
        [(add_InferenceServiceServicer_to_server, servicer)],
        given,
        admission=admission_of(given),
        access=access_of(),
        audit=audit,
    )
    stored = HttpResponses(harness.reading, rpcs, issue=lambda _project, _id: "token")
    async with provider(answer, harness=harness, further=[stored]) as (server, client):
        yield Responding(server=server, client=client, harness=harness, audit=audit)
