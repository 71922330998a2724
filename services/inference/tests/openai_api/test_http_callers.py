"""Who may ask at the API, and for which project: by OpenAI's client, and by raw requests as browsers send them."""

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from services.inference.tests.openai_api.apis import BODY, Lines, ScriptedAnswers, open_api, shop_key
from tidemill_core.transport_security import is_loopback

COMPLETIONS = "/v1/chat/completions"


async def test_a_path_may_repeat_the_project_of_the_key() -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        url = f"http://127.0.0.1:{api.server.port}/projects/acme/v1"
        async with AsyncOpenAI(base_url=url, api_key=shop_key(), max_retries=0) as client:
            assert [each.id for each in (await client.models.list()).data] == ["helpdesk", "sales"]
            answer = await client.chat.completions.create(
                model="helpdesk", messages=[{"role": "user", "content": "Where?"}]
            )

    assert answer.choices[0].message.content == "Press reset."
    assert {caller.project for caller, _, _ in answers.asked} == {"acme"}


async def test_what_is_no_key_is_refused_and_not_reported(lines: Lines) -> None:
    async with open_api(ScriptedAnswers()) as api:
        url = f"http://127.0.0.1:{api.server.port}/v1"
        async with AsyncOpenAI(base_url=url, api_key="sk-proj-canary", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="the credential is not accepted") as refused:
                await client.models.list()

    assert "canary" not in refused.value.message
    assert "canary" not in lines.text


async def test_a_project_in_the_path_needs_a_key_so_that_no_page_can_ask_unnoticed() -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api, httpx.AsyncClient(base_url=api.http.base_url) as page:
        response = await page.post(
            f"/projects/acme{COMPLETIONS}", json=BODY, headers={"Origin": "https://evil.example"}
        )

    assert response.status_code == 401
    assert answers.asked == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (COMPLETIONS, [("OpenAI-Project", "acme"), ("OpenAI-Project", "b")]),
        (COMPLETIONS, [("OpenAI-Project", "acme"), ("OpenAI-Project", "acme")]),
        (f"/projects/b{COMPLETIONS}", [("OpenAI-Project", "acme")]),
    ],
)
async def test_two_projects_in_one_request_are_refused(path: str, headers: list[tuple[str, str]]) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api, httpx.AsyncClient(base_url=api.http.base_url) as client:
        response = await client.post(path, json=BODY, headers=headers)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "OpenAI-Project")
    assert answers.asked == []


@pytest.mark.parametrize(
    ("host", "hosts", "status"),
    [
        ("evil.example", (), 403),
        ("evil.example:80", (), 403),
        ("127.0.0.1.evil.example", (), 403),
        ("localhost.evil.example", (), 403),
        ("tidemill.example", ("other.example",), 403),
        ("localhost", (), 200),
        ("LocalHost.:4711", (), 200),
        ("acme.localhost:4711", (), 200),
        ("127.0.0.1:4711", (), 200),
        ("[::1]:4711", (), 200),
        ("10.1.2.3", (), 200),
        ("Tidemill.Example:443", ("tidemill.example",), 200),
        ("evil.example", ("*",), 200),
    ],
)
async def test_a_name_that_is_not_ours_is_not_served(host: str, hosts: tuple[str, ...], status: int) -> None:
    async with open_api(ScriptedAnswers(), hosts=hosts) as api:
        response = await api.ask(headers={"Host": host, "Origin": f"http://{host}"})

    assert response.status_code == status
    assert (status == 200) or response.json()["error"]["code"] == "host_not_served"


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("192.0.2.1", False), ("::", False)]
)
def test_only_what_this_machine_alone_reaches_is_loopback(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("taken_from", "headers", "status"),
    [
        ("servers", {}, 200),
        ("servers", {"Origin": "https://app.example"}, 403),
        ("servers", {"Sec-Fetch-Mode": "cors"}, 403),
        ("anybody", {"Origin": "https://app.example"}, 200),
        ("nobody", {}, 403),
    ],
)
async def test_groups_are_taken_from_those_who_may_name_them(
    taken_from: str, headers: dict[str, str], status: int
) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers, principals_from=taken_from) as api:
        without = await api.ask(headers=headers)
        response = await api.ask(headers=headers, tidemill={"principals": ["group:hr"]})

    assert (without.status_code, response.status_code) == (200, status)
    if status != 200:
        assert "tidemill.principals: names another than the credential" in response.json()["error"]["message"]
