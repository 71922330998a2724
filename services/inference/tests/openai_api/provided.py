"""The API whose only model is behind a provider that a test scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.inference.tests.engines.openai_engines import here
from services.inference.tests.engines.openai_server import (
    USAGE,
    Handler,
    OpenAiServer,
    calls_a_tool,
    chunk,
    openai_server,
    streams,
)
from services.inference.tests.fakes import AnsweringHarness, helpdesk
from services.inference.tests.openai_api.apis import ApiClient, open_api
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.ports import RemoteModel

PARAMETERS = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
REPORT = ('{"place": "sea",', ' "degrees": 4}')


@asynccontextmanager
async def provider(
    answer: Handler,
    *,
    harness: AnsweringHarness | None = None,
    **options: Any,  # noqa: ANN401 - of the API
) -> AsyncIterator[tuple[OpenAiServer, ApiClient]]:
    """Yield a provider, and the API whose only model it has."""
    async with openai_server(answer) as server:
        engine = OpenAiEngine(
            RemoteModel(model="gpt", base_url=server.url),
            key=None,
            addresses=here(),
            stall_s=5,
            frank=True,
        )
        harness = harness or AnsweringHarness(deployment=helpdesk(retrieval=None, allow_sampling_override=True))
        harness.engines.engines["smollm2"] = engine  # type: ignore[assignment] # another engine than the scripted one
        try:
            async with open_api(harness.answer, **options) as api:
                yield server, api
        finally:
            await engine.close()


async def weather(request: Request) -> Response:
    """Report in JSON where that is asked for; call the tool twice at once; answer once there are results."""
    asked = await request.json()
    if "response_format" in asked:
        return await streams(*map(chunk, REPORT), chunk(finish="stop"), USAGE)(request)
    if asked["messages"][-1]["role"] == "tool":
        results = [each["content"] for each in asked["messages"] if each["role"] == "tool"]
        return await streams(chunk(" and ".join(results)), chunk(finish="stop"), USAGE)(request)
    first = calls_a_tool(0, call="c1", name="weather", arguments='{"at":')
    more = calls_a_tool(0, call="", name="", arguments=' "sea"}')
    second = calls_a_tool(1, call="c2", name="weather", arguments='{"at": "land"}')
    return await streams(first, more, second, chunk(finish="tool_calls"), USAGE)(request)
