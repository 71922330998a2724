"""Every audited RPC of the contract, by reflection, on both edges: none runs unrecorded, and no refusal passes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor

from libs.kit.tests.access.rpcs import METHODS, OK, all_rpcs, bearing, name_of, role_of, trivial
from libs.kit.tests.access.test_http import chosen
from libs.kit.tests.grpc.support import Context, settings
from tidemill.options.v1 import options_pb2
from tidemill_core.errors import NotFound
from tidemill_kit.access.access import Access
from tidemill_kit.audit.calls import FAILED, REFUSED, SUCCEEDED, AuditedCall
from tidemill_kit.audit.recording import NoAudit, address_of
from tidemill_kit.grpc.server import GrpcServer, admission_of
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.asgi import AsgiClient
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.contract import register_all

AUDITED = {
    name: method
    for name, method in METHODS.items()
    if method.GetOptions().Extensions[options_pb2.audit] == options_pb2.AUDIT_CALL
}
UNARY = {name: each for name, each in AUDITED.items() if not each.client_streaming and not each.server_streaming}
PUBLIC = {"tidemill.monitor.v1.AccessService/ExchangeToken"}
INSTALLATION_S = {name for name, method in AUDITED.items() if role_of(method) == options_pb2.ROLE_INSTALLATION_ADMIN}
Call = Callable[[str, str], Awaitable[tuple[str, str]]]
"""Calls an RPC with a token, "" for none, and returns code and reason."""


class Edge:
    """Every RPC behind one of the edges, with a trail in memory, and handlers that see what was stored before them."""

    def __init__(self) -> None:
        self.trail = RecordedCalls()
        self.ran: dict[str, int] = {}
        self.error: Exception | None = None
        self.project = "acme"
        self.call: Call

    def handler(self, method: MethodDescriptor) -> Callable[..., object]:
        name, inner = name_of(method), trivial(method)

        def entered() -> None:
            self.ran[name] = sum(each.method == name for each in self.trail.intents)
            if self.error is not None:
                raise self.error

        async def unary(request: Any, context: Context) -> object:  # noqa: ANN401 - a message, or a stream of them
            entered()
            answer: Any = inner(request, context)
            return await answer

        async def stream(request: Any, context: Context) -> AsyncIterator[object]:  # noqa: ANN401 - the same
            entered()
            answers: Any = inner(request, context)
            async for each in answers:
                yield each

        return stream if method.server_streaming else unary

    def ended(self) -> dict[str, AuditedCall]:
        """Return the one record of each method."""
        assert len(self.trail.ended) == len({each.method for each in self.trail.ended})
        return {each.method: each for each in self.trail.ended}


@asynccontextmanager
async def by_grpc(access: Access) -> AsyncIterator[Edge]:
    edge = Edge()
    async with all_rpcs(access, audit=edge.trail, handler=edge.handler) as rpcs:

        async def call(method: str, token: str) -> tuple[str, str]:
            named = ("tidemill-project", edge.project)
            code, reason = await rpcs(method, bearing(token, named) if token else (named,))
            return code.name, reason

        edge.call = call
        yield edge


@asynccontextmanager
async def by_json(access: Access) -> AsyncIterator[Edge]:
    edge, made = Edge(), chosen()
    rpcs = HttpRpcs(register_all(edge.handler), made, admission=admission_of(made), access=access, audit=edge.trail)
    client = AsgiClient(rpc_application(rpcs, made, dependencies=[]))
    codes = {code.value[0]: code.name for code in grpc.StatusCode}

    async def call(method: str, token: str) -> tuple[str, str]:
        headers = {"tidemill-project": edge.project} | ({"authorization": f"Bearer {token}"} if token else {})
        answer = await client.post(f"/{method}", headers=headers)
        if not answer.is_error:
            return OK[0].name, ""
        status = answer.json()
        return codes[status["code"]], status["details"][0]["reason"]

    edge.call = call
    yield edge


@pytest.fixture(params=[pytest.param(by_grpc, marks=pytest.mark.heavy), by_json])
async def edge(request: pytest.FixtureRequest, issuer: TestIssuer) -> AsyncIterator[Edge]:
    async with request.param(access_of(issuer)) as made:
        yield made


@pytest.fixture
def audited(request: pytest.FixtureRequest) -> dict[str, MethodDescriptor]:
    """Return the audited RPCs that the edge serves."""
    return AUDITED if request.node.callspec.params["edge"] is by_grpc else UNARY


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


async def test_an_allowed_call_is_recorded_before_its_handler_runs_and_with_its_outcome_after_it(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    token = issuer.token("acme", "installation_admin", id="the-key")
    assert {await edge.call(method, token) for method in METHODS if method in audited} == {("OK", "")}

    ended = edge.ended()
    assert ended.keys() == audited.keys()
    assert edge.ran == {method: 0 if method in PUBLIC else 1 for method in audited}
    assert {(each.outcome, each.code, each.reason) for each in ended.values()} == {(SUCCEEDED, "OK", "")}
    guarded = [each for name, each in ended.items() if name not in PUBLIC]
    assert {(each.caller.subject, each.caller.credential) for each in guarded} == {("user:ada", "the-key")}
    assert {each.method for each in guarded if each.project == ""} == INSTALLATION_S & audited.keys()
    assert {each.address for each in guarded} == {"127.0.0.1"}


async def test_a_call_that_is_not_audited_is_not_recorded(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    del audited
    method = "tidemill.ingest.v1.SourceService/GetSource"
    assert await edge.call(method, issuer.token("acme", "viewer")) == ("OK", "")
    assert await edge.call(method, "") == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
    assert (edge.trail.intents, edge.trail.ended) == ([], [])


async def test_a_role_that_is_too_low_is_a_record_of_its_own_with_the_caller(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    token = issuer.token("acme", "no-role", id="the-key")
    guarded = audited.keys() - PUBLIC
    assert {await edge.call(method, token) for method in guarded} == {("PERMISSION_DENIED", "ROLE_REQUIRED")}

    ended = edge.ended()
    assert ended.keys() == guarded
    assert {(each.outcome, each.code, each.reason) for each in ended.values()} == {
        (REFUSED, "PERMISSION_DENIED", "ROLE_REQUIRED")
    }
    assert {(each.caller.subject, each.caller.credential) for each in ended.values()} == {("user:ada", "the-key")}
    assert (edge.ran, edge.trail.intents) == ({}, [])


async def test_a_call_for_another_project_is_recorded_in_the_credential_s(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    edge.project = "globex"
    token = issuer.token("acme", "installation_admin")
    guarded = audited.keys() - PUBLIC
    assert {await edge.call(method, token) for method in guarded} == {("PERMISSION_DENIED", "PROJECT_NOT_ALLOWED")}
    ended = edge.ended()
    assert {(each.caller.project, each.caller.subject) for each in ended.values()} == {("acme", "user:ada")}
    assert edge.ran == {}


async def test_a_call_without_a_good_credential_is_recorded_without_a_caller(
    edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    for token, reason in (("", "CREDENTIAL_MISSING"), ("a.b.c", "CREDENTIAL_INVALID")):
        edge.trail.ended.clear()
        guarded = audited.keys() - PUBLIC
        assert {await edge.call(method, token) for method in guarded} == {("UNAUTHENTICATED", reason)}

        ended = edge.ended()
        assert ended.keys() == guarded
        assert {(each.outcome, each.reason) for each in ended.values()} == {(REFUSED, reason)}
        assert {(each.caller.subject, each.caller.project) for each in ended.values()} == {("", "")}
    assert (edge.ran, edge.trail.intents) == ({}, [])


async def test_nothing_is_carried_out_that_cannot_be_recorded(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    edge.trail.down = True
    token = issuer.token("acme", "installation_admin")
    assert {await edge.call(method, token) for method in audited} == {("UNAVAILABLE", "AUDIT_UNAVAILABLE")}
    assert edge.ran.keys() == audited.keys() & PUBLIC  # whose effect is their reply, which does not leave
    assert {each.outcome for name, each in edge.ended().items() if name not in PUBLIC} == {REFUSED}


async def test_a_handler_that_fails_is_recorded_with_its_reason(
    issuer: TestIssuer, edge: Edge, audited: dict[str, MethodDescriptor]
) -> None:
    edge.error = NotFound("there is none")
    token = issuer.token("acme", "installation_admin")
    assert {await edge.call(method, token) for method in audited} == {("NOT_FOUND", "NOT_FOUND")}
    assert {(each.outcome, each.code, each.reason) for each in edge.ended().values()} == {
        (FAILED, "NOT_FOUND", "NOT_FOUND")
    }


async def test_a_body_that_cannot_be_read_is_recorded_as_refused(issuer: TestIssuer) -> None:
    made, trail = chosen(), RecordedCalls()
    rpcs = HttpRpcs(register_all(trivial), made, admission=admission_of(made), access=access_of(issuer), audit=trail)
    transport = httpx.ASGITransport(rpc_application(rpcs, made, dependencies=[]))
    headers = {"authorization": f"Bearer {issuer.token('acme', 'admin')}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.post("/tidemill.ingest.v1.SourceService/CreateSource", headers=headers, content=b"{")

    (ended,) = trail.ended
    assert (ended.outcome, ended.code, ended.caller.subject) == (REFUSED, "INVALID_ARGUMENT", "user:ada")


def test_no_api_with_audited_rpcs_begins_without_a_trail() -> None:
    with pytest.raises(NoAudit):
        GrpcServer(settings(), register_all(trivial), access=access_of())
    made = chosen()
    with pytest.raises(NoAudit):
        HttpRpcs(register_all(trivial), made, admission=admission_of(made), access=access_of(), audit=None)


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:10.0.0.7:50051", "10.0.0.7"), ("ipv6:%5B::1%5D:443", "::1"), ("http:127.0.0.1:80", "127.0.0.1"), ("", "")],
)
def test_an_address_has_no_port(peer: str, address: str) -> None:
    assert address_of(peer) == address
