"""Every HTTP route that a service has: closed without a credential, and no text makes it fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from tidemill.options.v1 import options_pb2
from tidemill_kit.http import application as application_module
from tidemill_testkit.access import installation
from tidemill_testkit.asgi import AsgiClient
from tidemill_testkit.built import build
from tidemill_testkit.contract import all_methods

if TYPE_CHECKING:
    from tidemill_kit.access.access import Access

SERVED = ("inference", "feedback", "monitor")
"""Services with an HTTP API."""
SETTINGS = {
    "HTTP_RPCS": "true",
    "HTTP_PORT": "1",
    "DEPENDENCY_TIMEOUT_S": "0.2",
    "MAX_REQUESTS_PER_MINUTE_OF_PROJECT": "0",
    "MAX_REQUESTS_PER_MINUTE_OF_SUBJECT": "0",
    "FEEDBACK_TOKEN_KEY": "x" * 40,
    "TOKEN_KEY": "x" * 40,
    "FEEDBACK_ADDRESS": "127.0.0.1:1",
}
OPEN = {"/healthz/live", "/healthz/ready", "/.well-known/jwks.json", "/.well-known/openid-configuration"}
"""Health, and what is published of keys."""
PUBLIC = {
    f"/{method.containing_service.full_name}/{method.name}"
    for method in all_methods()
    if method.GetOptions().Extensions[options_pb2.required_role] == options_pb2.ROLE_PUBLIC
}
"""RPCs that the contract opens to everyone: the exchange of tokens, where that is, and status."""
RATED = "/v1/feedback"
"""Takes the token of an answer in place of a credential: one that is missing or no token is a wrong request."""
QUESTION = {
    "model": "helpdesk",
    "messages": [{"role": "user", "content": "hello", "name": "ada"}],
    "user": "ada",
    "stop": ["x"],
    "metadata": {"a": "b"},
}
FEEDBACK = {"token": "t", "comment": "c", "correction": "c", "labels": ["l"], "rating": "up"}
BATCH = {"input_file_id": "f", "endpoint": "e", "completion_window": "24h", "metadata": {"a": "b"}}
BODIES: Mapping[str, dict[str, Any]] = {
    "/chat/completions": QUESTION,
    "/responses": {
        "model": "m",
        "instructions": "i",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
        ],
        "user": "u",
        "metadata": {"a": "b"},
    },
    "v1/completions": {"model": "m", "prompt": "p", "user": "u"},
    RATED: FEEDBACK,
    "/files": {},
    "/embeddings": {"model": "m", "input": ["a"], "user": "u"},
    "/batches": BATCH,
    "/cancel": {},
}
"""A request of each POST route that is no RPC."""
BODILESS = "/cancel"
"""Reads no body: what is sent with it changes nothing."""
ALONE = "x\ud800"
NO_UTF8 = (b'{"a": "\xff"}', b'{"model": "\xed\xa0\x80"}', b'{"\xff": 1}', b"\xff\xfe{\x00}\x00")


class Recorded(Starlette):
    """Remembers the applications that are made."""

    made: list["Recorded"] = []  # noqa: RUF012 - of the class

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(**options)
        self.access: Access = options["middleware"][-1].kwargs["access"]
        self.made.append(self)


@asynccontextmanager
async def served(
    service: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[AsgiClient, list[tuple[str, str]], dict[str, str]]]:
    """Build a service, and yield a client of its HTTP API, its routes, and an admin's headers."""
    for name, text in SETTINGS.items():
        monkeypatch.setenv(f"{service.upper()}_{name}", text)
    monkeypatch.setattr(application_module, "Starlette", Recorded)
    Recorded.made.clear()
    await build(service, folder)
    (app,) = Recorded.made
    app.access.revocations.complete = True
    routes = [
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
    headers = {
        "authorization": f"Bearer {installation().token('a', 'installation_admin')}",
        "content-type": "application/json",
    }
    yield AsgiClient(app), routes, headers


@pytest.mark.parametrize("service", SERVED)
async def test_no_route_is_answered_without_a_credential(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(service, tmp_path, monkeypatch) as (client, routes, _):
        answered: dict[str, set[int]] = {}
        for method, path in routes:
            if path in OPEN or path in PUBLIC:
                continue
            body = next((body for end, body in BODIES.items() if end in path), {})
            for sent in ({}, {"authorization": "Bearer a.b.c"}, {"tidemill-project": "a"}, {"openai-project": "a"}):
                headers, content = {"content-type": "application/json", **sent}, json.dumps(body).encode()
                answer = await client.request(method, _filled(path), headers=headers, content=content)
                answered.setdefault(path, set()).add(answer.status_code)

    assert len(answered) > 1
    for path, codes in answered.items():
        assert codes <= ({400, 401, 403} if RATED in path else {401}), path


@pytest.mark.heavy
@pytest.mark.parametrize("service", SERVED)
async def test_no_route_fails_of_text_that_is_no_unicode(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(service, tmp_path, monkeypatch) as (client, routes, headers):
        asked: list[tuple[str, str, bytes, bool]] = []
        for method, path in routes:
            is_rpc = path.startswith("/tidemill.")
            written = [json.dumps({ALONE: ALONE}).encode(), *NO_UTF8] if method == "POST" else [b""]
            if method == "POST" and not is_rpc:
                (body,) = [body for end, body in BODIES.items() if path.endswith(end)]
                written += [json.dumps(each).encode() for each in _each_spoilt(body)]
            whole = _filled(path)
            paths = [whole, *({_filled(path, text) for text in ("%ff", "%ed%a0%80", "a%00")} - {whole})]
            refused = method == "POST" and not path.endswith(BODILESS)
            asked += [(method, each, content, refused and each == whole) for each in paths for content in written]
        answers = await asyncio.gather(  # some wait for a store that does not answer
            *(client.request(method, path, headers=headers, content=content) for method, path, content, _ in asked)
        )

    assert len(asked) > len(routes)
    for (method, path, content, refused), answer in zip(asked, answers, strict=True):
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, content, answer.text)
        if refused:
            assert answer.status_code == 400, (method, path, content, answer.text)


def _filled(path: str, text: str = "a") -> str:
    """Return a path with this text for each of its parts that a caller names."""
    return "/".join(text if part.startswith("{") else part for part in path.split("/"))


def _each_spoilt(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON
    """Return the value with half a character in each of its texts and names in turn."""
    if isinstance(value, str):
        return [value + ALONE]
    if isinstance(value, list):
        spoilt = [(at, each) for at, item in enumerate(value) for each in _each_spoilt(item)]
        return [[*value[:at], each, *value[at + 1 :]] for at, each in spoilt]
    if isinstance(value, dict):
        within = [{**value, name: each} for name, item in value.items() for each in _each_spoilt(item)]
        return [*within, {**value, ALONE: 1}]
    return []
