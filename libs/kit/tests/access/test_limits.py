"""How much a project, a caller and an address may send, over every RPC, by gRPC and HTTP together."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from libs.kit.tests.access.rpcs import GUARDED, METHODS, OK, all_rpcs, bearing
from libs.kit.tests.access.support import Checked, revocation
from libs.kit.tests.grpc.support import settings
from tidemill.options.v1 import options_pb2
from tidemill_core.application import Caller
from tidemill_core.errors import Overloaded
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.errors import CredentialInvalid, TooManyBadCredentials
from tidemill_kit.access.policy import Policy
from tidemill_kit.audit.recording import NoAudit
from tidemill_kit.grpc import admission as admission_module
from tidemill_kit.grpc.admission import Admission, Limits, TooManyRequests
from tidemill_kit.grpc.server import admission_of
from tidemill_kit.http.application import application
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.rpc import error_response
from tidemill_kit.runtime import rates
from tidemill_kit.runtime.rates import Rates
from tidemill_testkit.access import TestIssuer, access_of, admin_headers

RATE_OF_ONE = 6
"""Requests a minute: one, and the next one ten seconds later."""
REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
SEARCH = Policy(required_role=options_pb2.ROLE_VIEWER, audit=options_pb2.AUDIT_NONE, method="tidemill.probe/Search")


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


@pytest.mark.parametrize("whose", ["project", "subject"])
async def test_no_rpc_but_the_public_ones_goes_beyond_the_requests_of_a_minute(issuer: TestIssuer, whose: str) -> None:
    limit: dict[str, Any] = {f"max_requests_per_minute_of_{whose}": RATE_OF_ONE}
    tokens = [issuer.token(project, "installation_admin") for project in ("acme", "umbrella")]
    async with all_rpcs(access_of(issuer), **limit) as call:
        first = [await call(next(iter(GUARDED)), bearing(token)) for token in tokens]
        beyond = await asyncio.gather(*(call(method, bearing(tokens[0])) for method in GUARDED))
        public = [await call(method) for method in METHODS.keys() - GUARDED.keys() if method.endswith("GetStatus")]

    assert first == [OK, OK]
    assert set(beyond) == {REFUSED}
    assert public == [OK]


async def test_a_caller_leaves_others_of_the_project_their_requests(issuer: TestIssuer) -> None:
    method = next(iter(GUARDED))
    ada, bob = (issuer.token("acme", "installation_admin", subject=each) for each in ("user:ada", "user:bob"))
    async with all_rpcs(access_of(issuer), max_requests_per_minute_of_subject=RATE_OF_ONE) as call:
        answers = [await call(method, bearing(token)) for token in (ada, ada, bob)]

    assert answers == [OK, REFUSED, OK]


async def test_logins_are_counted_by_address() -> None:
    method = "tidemill.monitor.v1.AccessService/ExchangeToken"
    async with all_rpcs(access_of(), max_requests_per_minute_of_subject=RATE_OF_ONE) as call:
        assert [await call(method), await call(method)] == [OK, REFUSED]


async def test_what_a_service_asks_on_behalf_of_a_caller_is_not_counted_again() -> None:
    admission = admission_of(settings(max_requests_per_minute_of_project=RATE_OF_ONE))
    for _ in range(3):
        await admission.request(Caller(project="acme", subject="user:ada", via="inference"))
    await admission.request(Caller(project="acme", subject="user:ada"))

    with pytest.raises(TooManyRequests, match="this project sends more than 6 requests a minute"):
        await admission.request(Caller(project="acme", subject="user:ada"))


async def test_a_route_of_http_counts_with_the_rpcs_and_says_when_to_come_again(issuer: TestIssuer) -> None:
    async def route(http: Request) -> Response:
        await Exchange.of(http.scope).admit(SEARCH, has_token=True)
        return PlainTextResponse("found")

    admission = Admission(Limits(max_rpcs=1, max_public_streams=1, requests_per_minute_of_subject=RATE_OF_ONE))
    app = application(
        [Route("/search", route)],
        dependencies=[],
        error_response=error_response,
        served="",
        access=access_of(issuer),
        admission=admission,
        hosts=[],
        hosts_setting="",
    )
    given = {"authorization": f"Bearer {issuer.token('acme', 'viewer')}"}
    await admission.request(Caller(project="acme", subject="user:ada"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        refused = await client.get("/search", headers=given)
        anonymous = [await client.get("/search", headers={"tidemill-project": "acme"}) for _ in range(2)]
        health = await client.get("/healthz/live")

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert [each.status_code for each in anonymous] == [200, 429]
    assert health.status_code == 200


async def test_a_token_of_a_route_opens_no_deleted_project() -> None:
    async def route(http: Request) -> Response:
        await Exchange.of(http.scope).admit(SEARCH, has_token=True)
        return PlainTextResponse("found")

    access = access_of()
    app = application(
        [Route("/search", route)],
        dependencies=[],
        error_response=error_response,
        served="",
        access=access,
        admission=None,
        hosts=[],
        hosts_setting="",
    )
    access.revocations.apply(revocation("PROJECT", "acme"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answers = [await client.get("/search", headers={"tidemill-project": each}) for each in ("acme", "globex")]

    assert [each.status_code for each in answers] == [403, 200]
    assert "PROJECT_DELETED" in answers[0].text


async def test_a_route_stands_for_no_audited_rpc() -> None:
    audited = Policy(required_role=options_pb2.ROLE_VIEWER, audit=options_pb2.AUDIT_CALL, method="tidemill.probe/Set")
    scope = {"type": "http", "headers": [(key.encode(), text.encode()) for key, text in admin_headers("acme").items()]}

    async def nothing(*_: object) -> Any:  # noqa: ANN401 - as ASGI has it
        raise AssertionError

    exchange = Exchange(scope=scope, receive=nothing, outgoing=nothing, stall_s=1, access=access_of())
    assert (await exchange.admit(SEARCH)).project == "acme"
    with pytest.raises(NoAudit, match=r"tidemill\.probe/Set is audited"):
        await exchange.admit(audited)


async def test_what_comes_a_little_too_fast_waits_for_its_turn() -> None:
    admission = admission_of(settings(max_requests_per_minute_of_project=1200))
    begun = asyncio.get_running_loop().time()
    for _ in range(24):
        await admission.request(Caller(project="acme"))

    assert asyncio.get_running_loop().time() - begun >= 0.15


async def test_a_refused_client_waits_for_its_answer() -> None:
    admission = admission_of(settings(max_requests_per_minute_of_project=RATE_OF_ONE))
    await admission.request(Caller(project="acme"))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TooManyRequests):
        await admission.request(Caller(project="acme"))

    assert asyncio.get_running_loop().time() - begun >= 0.9 * admission_module.MAX_WAIT_S


async def test_a_project_that_waits_with_all_it_sends_leaves_others_places_to_wait_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission_module, "MAX_WAIT_S", 3600)
    admission = admission_of(settings(max_requests_per_minute_of_project=RATE_OF_ONE))
    for project in ("acme", "umbrella"):
        await admission.request(Caller(project=project))
    flood = [asyncio.create_task(admission.request(Caller(project="acme"))) for _ in range(1500)]
    other = asyncio.create_task(admission.request(Caller(project="umbrella")))
    await asyncio.wait({other}, timeout=0.1)

    assert sum(not each.done() for each in flood) == 100
    assert not other.done()
    for each in (other, *flood):
        each.cancel()
    await asyncio.gather(other, *flood, return_exceptions=True)


async def test_a_request_that_no_place_was_left_for_costs_the_project_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "_MAX_WAITING_OF_PROJECT", 0)
    admission = admission_of(settings(max_requests_per_minute_of_project=RATE_OF_ONE))
    await admission.request(Caller(project="acme"))
    refusals = list[TooManyRequests]()
    for _ in range(20):
        with pytest.raises(TooManyRequests) as refused:
            await admission.request(Caller(project="acme"))
        refusals.append(refused.value)

    assert max(each.retry_after_s for each in refusals) <= 60 / RATE_OF_ONE


async def test_an_address_that_sends_bad_credentials_has_no_unknown_one_verified(issuer: TestIssuer) -> None:
    checked = Checked(issuer, max_failures_per_minute=RATE_OF_ONE)

    async def send(token: str, address: str = "10.0.0.1") -> None:
        await checked.authenticator.authenticate(Credentials(token=token, address=address))

    known, unknown = issuer.token("acme", "viewer"), issuer.token("acme", "viewer")
    bad = TestIssuer(issuer.file.parent).token("acme", "viewer")
    await send(known)
    with pytest.raises(CredentialInvalid):
        await send(bad)
    for token in (bad, unknown):
        with pytest.raises(TooManyBadCredentials):
            await send(token)
    await send(known)
    checked.clock.moved += 61  # it is verified again
    await send(known)
    await send(unknown, "10.0.0.2")


async def test_one_project_has_its_share_of_streams_alone() -> None:
    admission = Admission(Limits(max_rpcs=9, max_public_streams=1, max_streams_of_project=1))
    with (
        admission.rpc("acme", streams=True),
        admission.rpc("umbrella", streams=True),
        admission.rpc("acme"),
        pytest.raises(Overloaded, match="1 streams of project acme are open"),
        admission.rpc("acme", streams=True),
    ):
        pass
    with admission.rpc("acme", streams=True):
        pass


def test_a_rate_allows_what_quiet_seconds_saved_and_then_its_share() -> None:
    clock = [0.0]
    bucket = Rates(600, now=lambda: clock[0])

    def allowed() -> int:
        count = 0
        while not bucket.wait_s("acme"):
            bucket.take("acme")
            count += 1
        return count

    assert allowed() == 10
    assert bucket.wait_s("acme") == pytest.approx(0.1)
    clock[0] += 0.301
    assert allowed() == 3
    clock[0] += 1000
    assert allowed() == 10


def test_no_rate_refuses_nothing() -> None:
    none = Rates(0)
    for _ in range(100):
        none.take("acme")

    assert (none.wait_s("acme"), len(none)) == (0.0, 0)


def test_keys_that_may_do_everything_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    bucket = Rates(6000, now=lambda: clock[0])
    for number in range(10_000):
        clock[0] += 0.001
        bucket.take(str(number))
    assert len(bucket) < 50

    monkeypatch.setattr(rates, "MAX_KEYS", 100)
    for number in range(1000):
        bucket.take(str(number))
    assert len(bucket) <= 101
