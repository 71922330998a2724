"""How versions of a prompt differ, and how its labels moved."""

import asyncio

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.inference.v1.prompt_pb2 import LabelMove, Prompt, PromptContent, PromptVersion
from tidemill.inference.v1.prompt_service_pb2 import GetPromptResponse, LabelPromptRequest, LabelPromptResponse

PROMPT = Prompt(
    id="answer",
    latest_version=2,
    versions=[
        PromptVersion(number=1, creator="user:mia", content=PromptContent(system="Be short.", user="{{ question }}")),
        PromptVersion(number=2, creator="user:bob", content=PromptContent(system="Be brief.", user="{{ question }}")),
    ],
    version_labels={"live": 1},
    label_moves=[LabelMove(label="live", version=1, mover="user:eve")],
)


@pytest.fixture
def prompts(running: Running) -> list[LabelPromptRequest]:
    """Answer with one prompt; return what is asked of its labels."""
    asked = list[LabelPromptRequest]()

    def label(request: LabelPromptRequest) -> LabelPromptResponse:
        asked.append(request)
        return LabelPromptResponse(prompt=PROMPT)

    running.answers["inference.v1.prompt_service:GetPrompt"] = lambda _: GetPromptResponse(prompt=PROMPT)
    running.answers["inference.v1.prompt_service:LabelPrompt"] = label
    return asked


async def test_the_log_shows_versions_with_their_labels_and_how_these_moved(
    terminal: Terminal, prompts: list[LabelPromptRequest]
) -> None:
    shown = await asyncio.to_thread(terminal, "prompts", "log", "answer")

    assert shown.code == 0
    assert shown.text.index("answer@2") < shown.text.index("answer@1")
    assert all(each in shown.text for each in ("user:mia", "user:bob", "live", "user:eve"))
    assert not prompts


async def test_a_difference_is_shown_by_lines_of_versions_or_labels(
    terminal: Terminal, prompts: list[LabelPromptRequest]
) -> None:
    shown = await asyncio.to_thread(terminal, "prompts", "diff", "answer@live", "answer@2")
    wrong = await asyncio.to_thread(terminal, "prompts", "diff", "answer@live", "answer@next")

    assert [each for each in shown.text.splitlines() if each[:1] in "+-"] == [
        "--- answer@live system",
        "+++ answer@2 system",
        "-Be short.",
        "+Be brief.",
    ]
    assert wrong.code == 2
    assert "answer has 1 to 2, live" in " ".join(wrong.text.split())
    assert not prompts


async def test_a_label_is_pointed_to_a_version(terminal: Terminal, prompts: list[LabelPromptRequest]) -> None:
    shown = await asyncio.to_thread(terminal, "prompts", "label", "answer@2", "production")

    assert shown.code == 0
    assert [(each.id, each.label, each.version) for each in prompts] == [("answer", "production", 2)]
