"""Every RPC of the contract, by reflection: who may call it, and that nothing but a good credential opens it.

What the edge decides of each RPC is asked of the edge; that each RPC of a server is behind it, of a server.
"""

from collections.abc import AsyncIterator
from functools import cache
from itertools import cycle
from pathlib import Path

import grpc
import pytest

from libs.kit.tests.access.rpcs import GUARDED, METHODS, OK, AllRpcs, EdgeRpcs, all_rpcs, bearing
from libs.kit.tests.access.support import revocation
from libs.kit.tests.access.test_tokens import WRONG
from libs.kit.tests.grpc.support import Lines
from tidemill.options.v1 import options_pb2
from tidemill_kit.access.errors import CredentialInvalid
from tidemill_kit.access.policy import ROLES
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import TestIssuer, access_of

MATRIX = Path(__file__).parent / "matrix.txt"
SERVICES = ("ingest", "rag", "trainer", "inference", "feedback", "evaluator", "monitor")
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
AUDITED = options_pb2.AUDIT_CALL
HEADERS_ARE_TRIMMED = {"a blank"}
"""Defects that the transport takes away."""


@cache
def rows() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the role and the callers of each RPC, as they were agreed on."""
    lines = (line.split() for line in MATRIX.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {method: (role, tuple(callers)) for method, role, *callers in lines}


def shown_of(token: str, text: str) -> list[str]:
    """Return the pieces of a credential that stand in a text."""
    return [part for at in range(0, len(token) - 11, 6) if (part := token[at : at + 12]) in text]


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


@pytest.fixture
def call(issuer: TestIssuer) -> EdgeRpcs:
    return EdgeRpcs(access_of(issuer))


@pytest.fixture
async def served(issuer: TestIssuer) -> AsyncIterator[AllRpcs]:
    async with all_rpcs(access_of(issuer)) as rpcs:
        yield rpcs


def test_every_rpc_has_a_row() -> None:
    assert sorted(rows()) == sorted(METHODS)


@pytest.mark.parametrize("role", [*ROLES, "unknown"])
async def test_a_role_may_call_what_its_row_says_and_nothing_else(
    issuer: TestIssuer, call: EdgeRpcs, role: str
) -> None:
    token, rank = issuer.token("acme", role), ["public", *ROLES].index(role) if role in ROLES else 0
    expected = {
        method: OK if ["public", *ROLES].index(needed) <= rank else (DENIED, "ROLE_REQUIRED")
        for method, (needed, _) in rows().items()
    }
    assert {method: await call(method, bearing(token)) for method in METHODS} == expected


async def test_a_server_takes_the_role_of_a_row_for_each_rpc_and_refuses_the_one_below(
    issuer: TestIssuer, served: AllRpcs
) -> None:
    tokens = {role: issuer.token("acme", role) for role in ("none", *ROLES)}
    below = dict(zip(ROLES, ("none", *ROLES), strict=False))
    needed = {method: role for method, (role, _) in rows().items() if method in GUARDED}

    assert {await served(method, bearing(tokens[role])) for method, role in needed.items()} == {OK}
    refused = {await served(method, bearing(tokens[below[role]])) for method, role in needed.items()}
    assert refused == {(DENIED, "ROLE_REQUIRED")}


async def test_each_audited_rpc_is_logged_for_operators_though_it_may_be_public(
    issuer: TestIssuer, call: EdgeRpcs, lines: Lines
) -> None:
    audited = {name for name, each in METHODS.items() if each.GetOptions().Extensions[options_pb2.audit] == AUDITED}
    for method in audited:
        await call(method, bearing(issuer.token("acme", "installation_admin")))

    logged = {line["method"][1:]: line for line in lines.named("rpc_finished") if line["level"] == "info"}
    assert {name for name, line in logged.items() if line.get("audit")} == audited


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_may_call_the_rpcs_that_name_it_and_nothing_else(
    issuer: TestIssuer, call: EdgeRpcs, service: str
) -> None:
    metadata = bearing(
        issuer.service_token(service), ("tidemill-project", "acme"), ("tidemill-on-behalf-of", "user:ada")
    )
    expected = {
        method: OK if role == "public" or service in callers else (DENIED, "SERVICE_NOT_ALLOWED")
        for method, (role, callers) in rows().items()
    }
    assert {method: await call(method, metadata) for method in METHODS} == expected


async def test_a_refusal_names_the_role_that_is_needed_and_the_caller_s(issuer: TestIssuer, served: AllRpcs) -> None:
    method = "tidemill.ingest.v1.SourceService/CreateSource"
    _, _, text = await served.answered(method, bearing(issuer.token("acme", "viewer", "poet")))
    assert text == f"{method} needs the role {rows()[method][0]} in the project; the caller's roles are: viewer"


async def test_a_permission_opens_one_rpc_and_a_scope_closes_all_others(issuer: TestIssuer, call: EdgeRpcs) -> None:
    for one in GUARDED:
        token = issuer.token("acme", permissions=frozenset({one}))
        other = next(each for each in GUARDED if each != one)
        installation_s = rows()[one][0] == "installation_admin"  # which no project gives
        assert await call(one, bearing(token)) == ((DENIED, "ROLE_REQUIRED") if installation_s else OK)
        assert await call(other, bearing(token)) == (DENIED, "ROLE_REQUIRED")
    scoped = issuer.token("acme", "installation_admin", scopes=frozenset({next(iter(GUARDED))}))
    assert [await call(each, bearing(scoped)) for each in GUARDED] == [
        OK,
        *[(DENIED, "SCOPE_MISSING")] * (len(GUARDED) - 1),
    ]


async def test_no_rpc_is_open_without_a_credential(call: EdgeRpcs, served: AllRpcs) -> None:
    project = (("tidemill-project", "acme"),)
    outcomes = {await call(method, project) for method in GUARDED}
    assert outcomes | {await served(next(iter(GUARDED)), project)} == {(UNAUTHENTICATED, "CREDENTIAL_MISSING")}
    assert {await served(method) for method in METHODS.keys() - GUARDED} == {OK}


async def test_no_rpc_takes_a_wrong_credential_and_nothing_of_it_is_logged(
    issuer: TestIssuer, call: EdgeRpcs, served: AllRpcs, lines: Lines
) -> None:
    tokens = {wrong: made(issuer) for wrong, made in WRONG.items() if wrong not in HEADERS_ARE_TRIMMED}
    # Every RPC is tried, and every credential with several of them: what reads it does not know the RPC.
    tried = list(zip(GUARDED, cycle(tokens), strict=False))
    answers = {(method, wrong): await call.answered(method, bearing(tokens[wrong])) for method, wrong in tried}
    for method, wrong in tried[: len(tokens)]:  # a server is asked with each credential, too
        answers[method, wrong] = await served.answered(method, bearing(tokens[wrong]))

    text = str(CredentialInvalid())
    assert {wrong for _, wrong in tried} == tokens.keys()
    assert answers == dict.fromkeys(tried, (UNAUTHENTICATED, "CREDENTIAL_INVALID", text))
    assert {wrong: shown for wrong, token in tokens.items() if (shown := shown_of(token, lines.text + text))} == {}


async def test_two_credentials_are_as_wrong_as_none(issuer: TestIssuer, call: EdgeRpcs, served: AllRpcs) -> None:
    good = issuer.token("acme", "admin")
    twice = bearing(good, ("authorization", f"Bearer {good}"))
    outcomes = {await call(method, twice) for method in GUARDED}
    assert outcomes | {await served(next(iter(GUARDED)), twice)} == {(UNAUTHENTICATED, "CREDENTIAL_INVALID")}


async def test_an_expired_credential_says_so(issuer: TestIssuer, call: EdgeRpcs) -> None:
    expired = issuer.token("acme", "admin", issue_time=1e9, expire_time=1e9 + 60)
    assert {await call(method, bearing(expired)) for method in GUARDED} == {(UNAUTHENTICATED, "CREDENTIAL_EXPIRED")}


async def test_no_rpc_lets_a_credential_of_one_project_name_another(issuer: TestIssuer, call: EdgeRpcs) -> None:
    metadata = bearing(issuer.token("globex", "installation_admin"), ("tidemill-project", "acme"))
    answers = {await call.answered(method, metadata) for method in GUARDED}
    metadata = bearing(issuer.token("globex", "installation_admin"), ("tidemill-project", "absent"))
    answers |= {await call.answered(method, metadata) for method in GUARDED}

    ((code, reason, _),) = answers
    assert (code, reason) == (DENIED, "PROJECT_NOT_ALLOWED")


async def test_no_rpc_takes_a_revoked_credential(issuer: TestIssuer) -> None:
    revocations = Revocations()
    call = EdgeRpcs(access_of(issuer, revocations=revocations))
    token = issuer.token("acme", "installation_admin", id="the-key")
    assert {await call(method, bearing(token)) for method in GUARDED} == {OK}
    revocations.apply(revocation("KEY", "acme", "the-key"))
    assert {await call(method, bearing(token)) for method in GUARDED} == {(UNAUTHENTICATED, "CREDENTIAL_REVOKED")}


async def test_a_header_of_a_megabyte_is_refused_and_the_next_call_is_answered(
    issuer: TestIssuer, served: AllRpcs, lines: Lines
) -> None:
    method = next(iter(GUARDED))
    code, _ = await served(method, bearing("a" * 1_000_000))

    assert code in (UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "aaaa" not in lines.text
    assert await served(method, bearing(issuer.token("acme", "installation_admin"))) == OK


async def test_the_largest_credential_is_taken(issuer: TestIssuer, served: AllRpcs) -> None:
    groups = frozenset(f"group-of-people-{number:04}" for number in range(240))
    token = issuer.token("acme", "installation_admin", groups=groups)

    assert 7000 < len(token) <= 8192
    assert await served(next(iter(GUARDED)), bearing(token)) == OK
