"""The JSON edge asks for the same credentials as gRPC, and refuses them in the same way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from pydantic_settings import SettingsConfigDict
from starlette.applications import Starlette

from libs.kit.tests.access.rpcs import GUARDED, METHODS, trivial
from libs.kit.tests.access.test_every_rpc import rows, shown_of
from libs.kit.tests.access.test_tokens import WRONG
from libs.kit.tests.grpc.support import Lines, settings
from tidemill_kit.access.access import Access
from tidemill_kit.access.policy import ROLES
from tidemill_kit.grpc.server import admission_of
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_kit.http.settings import RpcHttpSettings
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.asgi import AsgiClient, AsgiResponse
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.contract import register_all

UNARY = [name for name in GUARDED if not METHODS[name].client_streaming and not METHODS[name].server_streaming]


class ProbeSettings(RpcHttpSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_")


@cache
def chosen(**changes: object) -> ProbeSettings:
    return ProbeSettings(**{**settings().model_dump(), "http_port": 0, "http_rpcs": True, **changes})


def served(access: Access) -> Starlette:
    made = chosen()
    rpcs = HttpRpcs(register_all(trivial), made, admission=admission_of(made), access=access, audit=RecordedCalls())
    return rpc_application(rpcs, made, dependencies=[])


@asynccontextmanager
async def serving(access: Access) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served(access)), base_url="http://localhost") as client:
        yield client


def outcome(response: AsgiResponse | httpx.Response) -> tuple[int, str]:
    answer = response.json()
    return response.status_code, answer["details"][0]["reason"] if response.is_error else ""


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_what_its_row_says(tmp_path: Path, role: str) -> None:
    issuer = TestIssuer(tmp_path)
    headers = {"authorization": f"Bearer {issuer.token('acme', role)}"}
    ranks = ["public", *ROLES]
    client = AsgiClient(served(access_of(issuer)))
    found = {method: outcome(await client.post(f"/{method}", headers=headers)) for method in UNARY}

    assert found == {
        method: (200, "") if ranks.index(rows()[method][0]) <= ranks.index(role) else (403, "ROLE_REQUIRED")
        for method in UNARY
    }


async def test_no_rpc_takes_a_wrong_credential_and_nothing_of_it_is_logged(tmp_path: Path, lines: Lines) -> None:
    issuer = TestIssuer(tmp_path)
    tokens = {wrong: WRONG[wrong](issuer) for wrong in WRONG}
    client = AsgiClient(served(access_of(issuer)))
    answers = {
        (each, wrong): await client.post(f"/{each}", headers={"authorization": f"Bearer {tokens[wrong]}"})
        for each, wrong in zip(UNARY, cycle(tokens), strict=False)
    }

    assert {wrong for _, wrong in answers} == tokens.keys()
    assert set(map(outcome, answers.values())) == {(401, "CREDENTIAL_INVALID")}
    assert {each.headers["www-authenticate"] for each in answers.values()} == {"Bearer"}
    text = lines.text + "".join({each.text for each in answers.values()})
    assert {wrong: shown for wrong, token in tokens.items() if (shown := shown_of(token, text))} == {}


async def test_none_is_open_without_a_credential_or_with_one_of_another_project(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    other = {"authorization": f"Bearer {issuer.token('globex', 'admin')}", "tidemill-project": "acme"}
    client = AsgiClient(served(access_of(issuer)))
    missing = {outcome(await client.post(f"/{each}", headers={"tidemill-project": "acme"})) for each in UNARY}
    foreign = {outcome(await client.post(f"/{each}", headers=other)) for each in UNARY}
    huge = await client.post(f"/{UNARY[0]}", headers={"authorization": "Bearer " + "a" * 1_000_000})

    assert missing == {(401, "CREDENTIAL_MISSING")}
    assert foreign == {(403, "PROJECT_NOT_ALLOWED")}
    assert outcome(huge) == (401, "CREDENTIAL_INVALID")


async def test_no_body_is_read_of_a_caller_who_may_not_call(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        read.append(True)
        yield b"{"

    issuer, read = TestIssuer(tmp_path), list[bool]()
    admins = next(each for each in UNARY if rows()[each][0] == "admin")
    viewer = {"authorization": f"Bearer {issuer.token('acme', 'viewer')}"}
    async with serving(access_of(issuer)) as client:
        missing = outcome(await client.post(f"/{admins}", content=body()))
        low = outcome(await client.post(f"/{admins}", content=body(), headers=viewer))

    assert (missing, low) == ((401, "CREDENTIAL_MISSING"), (403, "ROLE_REQUIRED"))
    assert read == []
