"""Who may call a running stack."""

import importlib
import json
import pkgutil
import re
import stat
import time
from typing import Any

import httpx
import psutil
import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.system.running import Platform, wait_until
from tidemill.options.v1 import options_pb2
from tidemill_client.connection import SERVICES
from tidemill_core.errors import Unauthenticated
from tidemill_core.grpc.client import open_channel
from tidemill_local.supervision import processes_of

REVOKED_WITHIN_S = 5.0
PROGRAMS_WITH_PORTS_OF_THEIR_OWN = {"java", "weed"}
"""Kafka's controller, and the parts of the object store."""
FEEDBACK = "/v1/feedback"
"""Takes the token of an answer in place of a credential."""
HTTP_ROUTES = [
    ("inference", "POST", "/v1/chat/completions"),
    ("inference", "POST", "/v1/responses"),
    ("inference", "GET", "/v1/responses/a"),
    ("inference", "DELETE", "/v1/responses/a"),
    ("inference", "GET", "/v1/responses/a/input_items"),
    ("inference", "GET", "/v1/models"),
    ("inference", "GET", "/v1/models/helpdesk"),
    ("inference", "POST", FEEDBACK),
    ("inference", "DELETE", f"{FEEDBACK}/a"),
    ("feedback", "POST", FEEDBACK),
    ("feedback", "DELETE", f"{FEEDBACK}/a"),
]
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
MODELS = "/v1/models"


def rpcs(service: str) -> list[MethodDescriptor]:
    """Return every RPC of a service's contract that one request starts, but the public ones."""
    package = importlib.import_module(f"tidemill.{service}.v1")
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_service_pb2")
    ]
    return [
        method
        for module in modules
        for declared in module.DESCRIPTOR.services_by_name.values()
        for method in declared.methods
        if method.GetOptions().Extensions[options_pb2.required_role] != options_pb2.ROLE_PUBLIC
        and not method.client_streaming
    ]


async def first_reply(channel: Any, method: MethodDescriptor) -> object:  # noqa: ANN401 - typed for generated stubs only
    """Call an RPC with an empty request, and wait for its first answer."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.server_streaming:
        return await anext(aiter(channel.unary_stream(path)(b"")))
    return await channel.unary_unary(path)(b"")


@pytest.mark.parametrize("service", SERVICES)
async def test_no_rpc_of_a_service_is_answered_without_a_credential(platform: Platform, service: str) -> None:
    channel = open_channel(platform.addresses.of(service), project=platform.project)

    assert rpcs(service)
    for method in rpcs(service):
        with pytest.raises(Unauthenticated) as refused:
            await first_reply(channel, method)
        assert refused.value.reason == "CREDENTIAL_MISSING"
    await channel.close()


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer none"}, {"OpenAI-Project": "demo"}])
def test_no_http_request_is_answered_without_a_credential(platform: Platform, sent: dict[str, str]) -> None:
    question = {"model": "helpdesk", "messages": [{"role": "user", "content": "hello"}]}

    asked = httpx.post(f"http://{platform.addresses.http}/v1/chat/completions", headers=sent, json=question, timeout=10)
    listed = httpx.get(f"http://{platform.addresses.http}{MODELS}", headers=sent, timeout=10)

    for answer in (asked, listed):
        assert answer.status_code == httpx.codes.UNAUTHORIZED
        assert answer.json()["error"]["code"].startswith("credential_")


async def test_a_revoked_key_is_refused_within_seconds(platform: Platform) -> None:
    name, key = platform.api_key()

    def status() -> int:
        address = f"http://{platform.addresses.http}{MODELS}"
        return httpx.get(address, headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code

    async def refused() -> bool:
        return status() == httpx.codes.UNAUTHORIZED

    assert status() == httpx.codes.OK
    assert platform.tidemill("keys", "revoke", name).code == 0
    begin = time.monotonic()
    await wait_until(refused, "the key to be refused")

    assert time.monotonic() - begin < REVOKED_WITHIN_S


def test_a_key_of_one_project_reads_nothing_of_another(platform: Platform) -> None:
    stranger = Platform(platform.folder, platform.addresses, f"{platform.project}-b")
    _, key = stranger.api_key()

    own = httpx.get(f"http://{platform.addresses.http}{MODELS}", headers={"Authorization": f"Bearer {key}"}, timeout=10)
    named = httpx.get(
        f"http://{platform.addresses.http}{MODELS}",
        headers={"Authorization": f"Bearer {key}", "OpenAI-Project": platform.project},
        timeout=10,
    )

    assert own.json()["data"] == []
    assert named.status_code == httpx.codes.FORBIDDEN


def test_only_the_owner_reads_what_a_stack_keeps_of_credentials(platform: Platform) -> None:
    files = [*(platform.folder / "config" / "access").iterdir(), platform.folder / "stack.json"]

    assert len(files) > len(SERVICES)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_stack_listens_on_loopback_and_only_where_its_addresses_say(platform: Platform) -> None:
    declared = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", (platform.folder / "stack.json").read_text())}
    listening = [
        (process.name(), kept.laddr)
        for process in processes_of(platform.folder)
        for kept in process.net_connections("tcp")
        if kept.status == psutil.CONN_LISTEN
    ]

    assert {place.port for _, place in listening} >= declared
    assert {place.ip for _, place in listening} <= LOOPBACK
    assert {name for name, place in listening if place.port not in declared} == PROGRAMS_WITH_PORTS_OF_THEIR_OWN


@pytest.mark.parametrize(("service", "method", "path"), HTTP_ROUTES)
def test_no_route_of_http_is_answered_without_a_credential(
    platform: Platform, service: str, method: str, path: str
) -> None:
    address = json.loads((platform.folder / "stack.json").read_text())["services"][service]["http"]
    question = {"model": "helpdesk", "messages": [{"role": "user", "content": "hello"}]}
    codes = {
        httpx.request(method, f"http://{address}{prefix}{path}", json=question, timeout=10).status_code
        for prefix in ("", f"/projects/{platform.project}")
    }

    refusals = {httpx.codes.UNAUTHORIZED}
    if path.startswith(FEEDBACK):
        refusals |= {httpx.codes.BAD_REQUEST, httpx.codes.FORBIDDEN}
    assert codes <= refusals
