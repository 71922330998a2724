"""Where issuers are configured: a base URL and a key are all that a client needs, and nothing else opens a route."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from libs.kit.tests.access.support import revocation
from services.inference.tests.openai_api.apis import BODY, ApiClient, ScriptedAnswers, open_api
from tidemill_core.rights import ACT_FOR_USERS
from tidemill_inference.openai_api.routes import OpenAiApi
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.polling import eventually

WITHIN_S = 5.0
OPEN = {"/healthz/live", "/healthz/ready"}
BY_THE_ANSWER_S_TOKEN = {"/projects/acme/v1/feedback", "/projects/acme/v1/feedback/f-1"}
"""What a page may ask without a credential; without the token of the answer it is refused."""


@asynccontextmanager
async def serving(
    issuer: TestIssuer, answers: ScriptedAnswers | None = None, revocations: Revocations | None = None
) -> AsyncIterator[ApiClient]:
    async with open_api(answers or ScriptedAnswers(), access=access_of(issuer, revocations=revocations)) as api:
        del api.http.headers["openai-project"], api.http.headers["authorization"]
        yield api


def client(api: ApiClient, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{api.server.port}/v1", api_key=key, max_retries=0, timeout=10)


async def test_a_client_needs_a_base_url_and_a_key(tmp_path: Path) -> None:
    issuer, answers = TestIssuer(tmp_path), ScriptedAnswers()
    key = issuer.token("acme", "contributor", subject="service_account:shop")
    async with serving(issuer, answers) as api, client(api, key) as ai:
        answer = await ai.chat.completions.create(model="helpdesk", messages=[{"role": "user", "content": "Why?"}])
        models = [each.id async for each in ai.models.list()]

    caller = answers.asked[0][0]
    assert answer.choices[0].message.content == "Press reset."
    assert (caller.project, caller.subject, models) == ("acme", "service_account:shop", ["helpdesk", "sales"])


@pytest.mark.parametrize("key", ["acme", "none", "a.b.c"])
async def test_a_project_s_name_is_no_key_any_more(tmp_path: Path, key: str) -> None:
    async with serving(TestIssuer(tmp_path)) as api, client(api, key) as ai:
        with pytest.raises(openai.AuthenticationError) as refused:
            await ai.models.list()
    assert key not in refused.value.message


async def test_a_role_that_is_too_low_is_named(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    async with serving(issuer) as api, client(api, issuer.token("acme", "viewer")) as ai:
        await ai.models.list()
        with pytest.raises(openai.PermissionDeniedError, match="needs the role contributor"):
            await ai.chat.completions.create(model="helpdesk", messages=[{"role": "user", "content": "Why?"}])


@pytest.mark.parametrize("where", ["header", "path"])
async def test_a_key_names_no_other_project(tmp_path: Path, where: str) -> None:
    issuer = TestIssuer(tmp_path)
    prefix, headers = ("/projects/b/v1", {}) if where == "path" else ("/v1", {"OpenAI-Project": "b"})
    async with serving(issuer) as api:
        headers["authorization"] = f"Bearer {issuer.token('acme', 'admin')}"
        response = await api.http.get(f"{prefix}/models", headers=headers)
    assert response.status_code == 403


def requests_of(api: OpenAiApi) -> list[tuple[str, str]]:
    return [
        (method, route.path.format(project="acme", model="helpdesk", id="f-1"))  # type: ignore[attr-defined]
        for route in api.app().routes
        for method in (getattr(route, "methods", None) or {"GET"}) - {"HEAD"}
    ]


async def test_no_route_but_health_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[OpenAiApi] = []
    app = OpenAiApi.app
    monkeypatch.setattr(OpenAiApi, "app", lambda self: made.append(self) or app(self))  # type: ignore[func-returns-value]
    async with serving(TestIssuer(tmp_path)) as api:
        found = {
            path: (await api.http.request(method, path, json=BODY)).status_code for method, path in requests_of(made[0])
        }
    assert len(found) > 10
    assert {path for path, status in found.items() if status != 401} == OPEN | BY_THE_ANSWER_S_TOKEN
    assert {found[path] for path in BY_THE_ANSWER_S_TOKEN} == {400, 403}  # its body, and its token


async def test_a_stream_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    issuer, revocations, never = TestIssuer(tmp_path), Revocations(), asyncio.Event()
    answers = ScriptedAnswers("Press ", never)
    key = issuer.token("acme", "contributor", id="the-key")
    async with (
        serving(issuer, answers, revocations) as api,
        api.http.stream(
            "POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers={"authorization": f"Bearer {key}"}
        ) as response,
    ):
        lines = response.aiter_lines()
        async for line in lines:
            if "Press" in line:
                break
        revocations.apply(revocation("KEY", "acme", "the-key"))
        async with asyncio.timeout(WITHIN_S):
            rest = [line async for line in lines if line]
        async with asyncio.timeout(WITHIN_S):
            await answers.left.wait()

    assert "was revoked" in rest[-1]  # and no [DONE] after it


async def test_an_answer_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    issuer, revocations = TestIssuer(tmp_path), Revocations()
    answers = ScriptedAnswers(asyncio.Event())
    headers = {"authorization": f"Bearer {issuer.token('acme', 'contributor', id='the-key')}"}
    async with serving(issuer, answers, revocations) as api:
        asking = asyncio.create_task(api.ask(headers=headers))
        await eventually(lambda: answers.asked)
        revocations.apply(revocation("KEY", "acme", "the-key"))
        async with asyncio.timeout(WITHIN_S):
            response = await asking
    assert response.status_code == 401


async def test_an_answer_ends_when_its_key_expires_and_the_leeway_is_over(tmp_path: Path) -> None:
    issuer, answers = TestIssuer(tmp_path), ScriptedAnswers(asyncio.Event())
    key = issuer.token("acme", "contributor", expire_time=time.time() - 28)
    async with serving(issuer, answers) as api, asyncio.timeout(WITHIN_S):
        response = await api.ask(headers={"authorization": f"Bearer {key}"})
        await answers.left.wait()
    assert (response.status_code, "has expired" in response.text) == (401, True)
    assert answers.asked


HR = {"principals": ["group:hr"]}
BROWSER = {"Origin": "https://app.example"}


@pytest.mark.parametrize(
    ("roles", "permissions", "headers", "status"),
    [
        (("contributor",), frozenset[str](), {}, 403),
        (("contributor",), frozenset[str](), BROWSER, 403),
        (("contributor",), frozenset({ACT_FOR_USERS}), {}, 200),
        (("contributor",), frozenset({ACT_FOR_USERS}), BROWSER, 403),
        (("operator",), frozenset[str](), {}, 200),
    ],
)
async def test_principals_beyond_the_key_s_own_are_named_by_a_backend_only(
    tmp_path: Path, roles: tuple[str, ...], permissions: frozenset[str], headers: dict[str, str], status: int
) -> None:
    issuer, answers = TestIssuer(tmp_path), ScriptedAnswers()
    key = issuer.token("acme", *roles, permissions=permissions, groups=frozenset({"staff"}))
    sent = {"authorization": f"Bearer {key}", **headers}
    async with serving(issuer, answers) as api:
        response = await api.ask(headers=sent, tidemill=HR)
        own = await api.ask(headers=sent, tidemill={"principals": ["group:staff"]})
        without = await api.ask(headers=sent)

    assert (response.status_code, own.status_code, without.status_code) == (status, 200, 200)
    assert [question.principals for _, question, _ in answers.asked][-2:] == [
        ("group:staff",),
        ("group:staff", "user:ada"),
    ]
    if status == 403:
        assert "tidemill.principals" in response.json()["error"]["message"]
        assert "act_for_users" in response.json()["error"]["message"]
        assert len(answers.asked) == 2


async def test_a_plain_key_asks_for_its_own_user_only(tmp_path: Path) -> None:
    issuer, answers = TestIssuer(tmp_path), ScriptedAnswers()
    sent = {"authorization": f"Bearer {issuer.token('acme', 'contributor')}"}
    backend = {"authorization": f"Bearer {issuer.token('acme', 'contributor', permissions=frozenset({ACT_FOR_USERS}))}"}
    async with serving(issuer, answers) as api:
        victim = await api.ask(headers=sent, user="victim-0")
        await api.ask(headers=sent)
        await api.ask(headers=backend, user="customer-7")

    assert (victim.status_code, victim.json()["error"]["message"].partition(":")[0]) == (403, "user")
    assert [question.end_user for _, question, _ in answers.asked] == ["user:ada", "customer-7"]


async def test_the_same_idempotency_key_of_another_user_is_another_intent(tmp_path: Path) -> None:
    issuer, answers = TestIssuer(tmp_path), ScriptedAnswers()
    async with serving(issuer, answers) as api:
        for subject in ("user:ada", "user:ada", "user:bob"):
            key = issuer.token("acme", "contributor", subject=subject)
            await api.ask(headers={"authorization": f"Bearer {key}", "Idempotency-Key": "order-1"})

    digests = [request.digest for _, _, request in answers.asked]
    assert digests[0] == digests[1] != digests[2]
