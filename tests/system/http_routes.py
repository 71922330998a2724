"""Every route of HTTP that a stack has, and requests of them that name what another project has."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from starlette.routing import Route

from tests.system.calls import METHODS, Answer
from tests.system.probes import Probe
from tests.system.running import Platform
from tidemill_core.application import SystemClock
from tidemill_inference.openai_api.routes import OpenAiApi
from tidemill_kit.http.feedback import HttpFeedback

RPC_SERVICES = ("feedback", "monitor")
"""Serve their unary RPCs as JSON, where a setting says so."""
BODIES: tuple[Mapping[str, Any], ...] = (
    {"model": "{}", "messages": [{"role": "user", "content": "hello"}]},
    {"model": "none", "messages": [{"role": "user", "content": "{}"}], "user": "{}"},
    {"model": "none", "messages": [{"role": "user", "content": "hello"}], "tidemill": {"principals": ["{}"]}},
    {"inference": "{}", "metric": "comment", "comment": "hello"},
    {"inference": "{}", "metric": "comment", "comment": "hello", "token": "{}"},
)
"""Bodies of all routes that take one, each with a name in every field that finds something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """A request of one route; `value` stands in its path, body or headers."""

    service: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def routes() -> Iterator[tuple[str, str, str]]:
    """Yield service, method and path of each route, from what the services build their applications of."""
    nothing = cast("Any", None)
    feedback = HttpFeedback(rpcs=nothing, tokens=None, setting="", clock=SystemClock(), max_body_bytes=1)
    api = OpenAiApi(nothing, nothing, max_body_bytes=1, feedback=feedback, access=nothing).app()
    for service, declared in (("inference", api.routes), ("feedback", feedback.routes())):
        for each in declared:
            assert isinstance(each, Route), each
            for method in sorted((each.methods or set()) - {"HEAD", "OPTIONS"}):
                yield service, method, each.path


def requests_of(route: tuple[str, str, str], value: str, *, project: str) -> Iterator[RouteRequest]:
    """Yield requests of a route: with the value in its path, in each body, and with the project as theirs."""
    service, method, path = route
    named = path.replace("{project}", project)
    for each in ("model", "id"):
        named = named.replace(f"{{{each}}}", value)
    headers = {"OpenAI-Project": project} if "{project}" not in path else {}
    bodies = [json.loads(json.dumps(body).replace("{}", value)) for body in BODIES] if method == "POST" else [None]
    for body in bodies:
        yield RouteRequest(service=service, method=method, path=named, body=body)
        if headers:
            yield RouteRequest(service=service, method=method, path=named, body=body, headers=headers)


def as_json(probe: Probe, request: bytes) -> RouteRequest | None:
    """Return the probe of a unary RPC over HTTP; None of one that is not served so."""
    declared = METHODS[probe.method]
    service = declared.full_name.split(".")[1]
    if service not in RPC_SERVICES or declared.client_streaming or declared.server_streaming:
        return None
    message = GetMessageClass(declared.input_type).FromString(request)
    return RouteRequest(service=service, method="POST", path=f"/{probe.method}", body=MessageToDict(message))


class HttpCalls:
    """Sends requests with one credential."""

    def __init__(self, platform: Platform, token: str) -> None:
        services = json.loads((platform.folder / "stack.json").read_text())["services"]
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=20)
        self._addresses = {name: each["http"] for name, each in services.items() if "http" in each}

    def __call__(self, ask: RouteRequest) -> Answer:
        """Return the status and the reply, an error as text."""
        url = f"http://{self._addresses[ask.service]}{ask.path}"
        reply = self._client.request(ask.method, url, json=ask.body, headers=dict(ask.headers))
        if reply.is_error:
            return Answer(str(reply.status_code), text=reply.text)
        return Answer(str(reply.status_code), body=reply.content)
