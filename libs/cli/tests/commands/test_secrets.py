import asyncio
from typing import Any

import pytest
import typer

from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.loop.running import Running
from tidemill.inference.v1 import secret_service_pb2 as pb
from tidemill_cli import secrets

CANARY = "sk-CANARY"
SET = ("secrets", "set", "OPENAI_API_KEY", "--host", "api.openai.com", "--host", "https://eu.example:8443")


@pytest.fixture
def asked(running: Running) -> list[Any]:
    """What SetSecret is asked."""
    requests: list[Any] = []

    def answer(request: Any) -> pb.SetSecretResponse:  # noqa: ANN401 - a message
        requests.append(request)
        return pb.SetSecretResponse(secret=request.secret)

    running.answers["inference.v1.secret_service:SetSecret"] = answer
    return requests


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_a_value_is_read_from_standard_input_and_printed_nowhere(
    terminal: Terminal, asked: list[Any], ending: str
) -> None:
    people = await asyncio.to_thread(lambda: terminal.typed(*SET, piped=CANARY + ending))
    programs = await asyncio.to_thread(lambda: terminal.typed(*SET, "--json", piped=CANARY + ending))

    assert (people.code, programs.code) == (0, 0), people.text
    assert CANARY not in people.text + programs.text
    assert [each.value for each in asked] == [CANARY] * 2
    assert list(asked[0].secret.hosts) == ["api.openai.com", "https://eu.example:8443"]


async def test_on_a_terminal_the_value_is_asked_for_unseen(
    terminal: Terminal, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[dict[str, object]] = []

    def prompt(_text: str, **options: object) -> str:
        prompts.append(options)
        return CANARY

    monkeypatch.setattr(secrets, "_is_terminal", lambda: True)
    monkeypatch.setattr(typer, "prompt", prompt)
    said = await asyncio.to_thread(lambda: terminal.typed(*SET))

    assert said.code == 0
    assert [each.value for each in asked] == [CANARY]
    assert prompts == [{"hide_input": True, "err": True}]


@pytest.mark.parametrize("extra", [[CANARY], ["--value", CANARY]])
async def test_a_value_cannot_be_an_argument(terminal: Terminal, asked: list[Any], extra: list[str]) -> None:
    assert (await asyncio.to_thread(lambda: terminal.typed(*SET, *extra))).code != 0
    assert not asked


async def test_an_empty_input_is_refused(terminal: Terminal, asked: list[Any]) -> None:
    said = await asyncio.to_thread(lambda: terminal.typed(*SET, piped="\n"))

    assert said.code != 0
    assert "standard input is empty" in said.text
    assert not asked


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("secrets list", ["OPENAI_API_KEY", "https://api.openai.com", "used instead"]),
        ("secrets delete OPENAI_API_KEY", ["OPENAI_API_KEY is deleted"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)
