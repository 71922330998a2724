"""The JSON edge is the edge of gRPC: the same project, limits, errors and lines of log."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic_settings import SettingsConfigDict

from libs.kit.tests.grpc.support import Context, Lines, inferences, settings, sources
from tidemill.inference.v1.inference_service_pb2 import GenerateStreamResponse
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import (
    CreateSourceRequest,
    CreateSourceResponse,
    GetSourceRequest,
    GetSourceResponse,
)
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound, RateLimited, TidemillError, Violation
from tidemill_kit.access.access import Access
from tidemill_kit.grpc.admission import Admission, Limits
from tidemill_kit.grpc.server import GrpcServer, admission_of, current_caller, remaining_s
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_kit.http.settings import RpcHttpSettings
from tidemill_testkit.access import access_of, admin_channel, admin_headers
from tidemill_testkit.audit import RecordedCalls

SERVICE = "/tidemill.ingest.v1.SourceService"
ACME = admin_headers("acme")


class ProbeSettings(RpcHttpSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_")


@asynccontextmanager
async def serving(
    *,
    rpcs: bool = True,
    admission: Admission | None = None,
    access: Access | None = None,
    **handlers: Callable[..., object],
) -> AsyncIterator[httpx.AsyncClient]:
    async def stream(_request: object, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        yield GenerateStreamResponse()

    made = ProbeSettings(
        **settings(max_request_items=100).model_dump(), http_port=0, max_body_bytes=2048, http_rpcs=rpcs
    )
    servicers = [sources(**handlers), inferences(GenerateStream=stream)]
    served = HttpRpcs(
        servicers, made, admission=admission or admission_of(made), access=access or access_of(), audit=RecordedCalls()
    )
    app = rpc_application(served, made, dependencies=[])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=ACME) as client:
        yield client


async def get(request: GetSourceRequest, _context: Context) -> GetSourceResponse:
    return GetSourceResponse(source=Source(id=request.id, project=current_caller().project))


async def test_an_rpc_is_called_with_proto_json_and_answers_in_the_contract_s_names(lines: Lines) -> None:
    async def create(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        return CreateSourceResponse(source=request.source)

    body = {"requestId": "r", "source": {"id": "cms", "retentionDays": 3, "labels": {"team": "a"}}}
    async with serving(CreateSource=create) as client:
        response = await client.post(f"{SERVICE}/CreateSource", json=body)

    source = response.json()["source"]
    assert (response.status_code, source["id"], source["retention_days"], source["labels"]) == (
        200,
        "cms",
        3,
        {"team": "a"},
    )
    assert lines.named("rpc_finished")[0]["method"] == f"{SERVICE}/CreateSource"
    assert lines.named("http_request_finished")[0]["path"] == f"{SERVICE}/CreateSource"


async def test_the_project_comes_from_the_header_and_is_required() -> None:
    async with serving(GetSource=get) as client:
        named = await client.post(f"{SERVICE}/GetSource", json={"id": "cms"})
        del client.headers["tidemill-project"]
        unnamed = await client.post(f"{SERVICE}/GetSource", json={"id": "cms"})

    assert named.json()["source"]["project"] == "acme"
    assert (unnamed.status_code, unnamed.json()["code"]) == (401, 16)


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (NotFound("there is no source cms"), 404, 5, "NOT_FOUND"),
        (InvalidInput.of(Violation(field="id", description="is odd")), 400, 3, "INVALID_INPUT"),
        (RateLimited("too much", retry_after_s=2), 429, 8, "RATE_LIMITED"),
        (DependencyUnavailable("it is down", dependency="mongodb"), 503, 14, "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_an_error_is_a_status_with_its_details(error: TidemillError, status: int, code: int, reason: str) -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        raise error

    async with serving(GetSource=fail) as client:
        response = await client.post(f"{SERVICE}/GetSource", json={})

    shown = response.json()
    assert (response.status_code, shown["code"], shown["message"]) == (status, code, error.message)
    info = shown["details"][0]
    assert (info["@type"], info["reason"]) == ("type.googleapis.com/google.rpc.ErrorInfo", reason)


async def test_what_breaks_is_internal_and_hides_why(lines: Lines) -> None:
    async def breaks(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        message = "a secret"
        raise RuntimeError(message)

    async with serving(GetSource=breaks) as client:
        response = await client.post(f"{SERVICE}/GetSource", json={})

    assert (response.status_code, "secret" in response.text) == (500, False)
    assert lines.named("rpc_failed")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"unknown": 1}', 400),
        (b'{"id": 3}', 400),
        (b'{"id": "a", "id": "b"}', 400),
        (b'{"id": "' + b"x" * 3000 + b'"}', 413),
        (b"", 200),
    ],
)
async def test_a_body_that_is_not_the_request_is_refused(body: bytes, status: int) -> None:
    async with serving(GetSource=get) as client:
        response = await client.post(f"{SERVICE}/GetSource", content=body)

    assert response.status_code == status
    assert status == 200 or response.json()["code"] == 3


async def test_a_request_is_counted_once_and_before_its_body_is_read() -> None:
    limits = Limits(max_rpcs=9, max_public_streams=1, requests_per_minute_of_project=6)
    async with serving(GetSource=get, admission=Admission(limits)) as client:
        first = await client.post(f"{SERVICE}/GetSource", json={"id": "cms"})
        beyond = await client.post(f"{SERVICE}/GetSource", content=b"{ no JSON")

    assert (first.status_code, beyond.status_code) == (200, 429)


async def test_a_body_has_no_more_items_than_a_request_of_grpc() -> None:
    async def create(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        return CreateSourceResponse(source=request.source)

    def asked(kinds: int) -> dict[str, object]:
        return {"source": {"id": "cms", "masking": {"kinds": [""] * kinds}}}

    async with serving(CreateSource=create) as client:
        few = await client.post(f"{SERVICE}/CreateSource", json=asked(90))
        many = await client.post(f"{SERVICE}/CreateSource", json=asked(101))

    assert few.status_code == 200
    assert (many.status_code, many.json()["details"][0]["reason"]) == (400, "TOO_MANY_ITEMS")


async def test_a_caller_s_time_is_the_handler_s_deadline() -> None:
    async def wait(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        seen.append(remaining_s(60))
        await asyncio.Event().wait()
        return GetSourceResponse()

    seen: list[float] = []
    async with serving(GetSource=wait) as client:
        late = await client.post(f"{SERVICE}/GetSource", json={}, headers={"connect-timeout-ms": "100"})
        odd = await client.post(f"{SERVICE}/GetSource", json={}, headers={"connect-timeout-ms": "-1"})

    assert (late.status_code, late.json()["code"], odd.status_code) == (504, 4, 400)
    assert seen[0] <= 0.1


async def test_rpcs_by_grpc_and_as_json_share_the_places_of_the_process() -> None:
    async def enter(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        entered.set()
        await go.wait()
        return GetSourceResponse()

    entered, go = asyncio.Event(), asyncio.Event()
    admission = Admission(Limits(max_rpcs=2, max_public_streams=1))
    server = GrpcServer(
        settings(), [sources(GetSource=enter)], admission=admission, access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    async with (
        admin_channel(f"127.0.0.1:{server.port}", name="probe", project="acme") as channel,
        serving(GetSource=get, admission=admission) as client,
    ):
        held = asyncio.ensure_future(SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms")))
        await entered.wait()
        refused = await client.post(f"{SERVICE}/GetSource", json={})
        go.set()
        await held
        taken = await client.post(f"{SERVICE}/GetSource", json={})
    await server.stop(0)

    assert (refused.status_code, refused.headers["retry-after"], taken.status_code) == (429, "1", 200)


async def test_streams_other_paths_and_other_methods_are_not_served() -> None:
    async with serving(GetSource=get) as client:
        stream = await client.post("/tidemill.inference.v1.InferenceService/GenerateStream", json={})
        other = await client.get(f"{SERVICE}/GetSource")
        health = await client.get("/healthz/ready")
        foreign = await client.post(f"{SERVICE}/GetSource", json={}, headers={"host": "evil.example"})

    assert (stream.status_code, other.status_code, health.status_code, foreign.status_code) == (404, 405, 200, 403)
    assert other.headers["allow"] == "POST"
    assert "PROBE_HTTP_HOSTS" in json.dumps(foreign.json())


async def test_rpcs_are_served_only_where_the_settings_say_so() -> None:
    async with serving(rpcs=False, GetSource=get) as client:
        refused = await client.post(f"{SERVICE}/GetSource", json={})

    assert (refused.status_code, "PROBE_HTTP_RPCS" in refused.text) == (404, True)
