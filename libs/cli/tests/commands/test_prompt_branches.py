"""Branches of prompts from the command line."""

import asyncio
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent, PromptOrigin, PromptVersion
from tidemill.inference.v1.prompt_service_pb2 import (
    CreatePromptRequest,
    CreatePromptResponse,
    GetPromptResponse,
    MergePromptRequest,
    MergePromptResponse,
)

ANSWER = Prompt(
    id="answer",
    etag="7",
    latest_version=1,
    content=PromptContent(system="Be kind.", user="{{ question }}"),
    versions=[PromptVersion(number=1, content=PromptContent(system="Be kind.", user="{{ question }}"))],
    version_labels={"live": 1},
)


def merged() -> Prompt:
    """Return the prompt with what its branch changed."""
    after = Prompt(forked_from=PromptOrigin(prompt="main", version=4), latest_version=2)
    after.MergeFrom(ANSWER)
    after.latest_version = 2
    after.versions.add(
        number=2,
        content=PromptContent(system="Be brief.", user="{{ question }}"),
        merged_from=[PromptOrigin(prompt="brief", version=3)],
    )
    return after


class Service:
    """Answers with one prompt, and keeps what is asked."""

    def __init__(self) -> None:
        self.prompt, self.after = ANSWER, merged()
        self.forked: list[CreatePromptRequest] = []
        self.merged: list[MergePromptRequest] = []

    def fork(self, request: CreatePromptRequest) -> CreatePromptResponse:
        self.forked.append(request)
        return CreatePromptResponse(prompt=request.prompt)

    def merge(self, request: MergePromptRequest) -> MergePromptResponse:
        self.merged.append(request)
        return MergePromptResponse(prompt=self.after)


@pytest.fixture
def service(running: Running) -> Service:
    made, module = Service(), "inference.v1.prompt_service"
    running.answers[f"{module}:GetPrompt"] = lambda _: GetPromptResponse(prompt=made.prompt)
    running.answers[f"{module}:CreatePrompt"] = made.fork
    running.answers[f"{module}:MergePrompt"] = made.merge
    return made


async def test_a_branch_begins_with_a_version_by_number_or_label_or_the_newest(
    terminal: Terminal, service: Service
) -> None:
    for version in ("answer", "answer@3", "answer@live"):
        shown = await asyncio.to_thread(terminal, "prompts", "branch", version, "brief")
        assert shown.code == 0, shown.text
        assert "brief is created" in shown.text
    wrong = await asyncio.to_thread(terminal, "prompts", "branch", "answer@next", "brief")

    assert [(each.prompt.id, each.prompt.forked_from) for each in service.forked] == [
        ("brief", PromptOrigin(prompt="answer", version=version)) for version in (0, 3, 1)
    ]
    assert not any(each.prompt.HasField("content") for each in service.forked)
    assert wrong.code == 2


async def test_a_merge_shows_what_it_changed_and_takes_texts_and_files_for_conflicts(
    terminal: Terminal, service: Service, tmp_path: Path
) -> None:
    file = tmp_path / "system.jinja"
    file.write_text("Be both.", encoding="utf-8")
    resolved = ("--resolve", f"system=@{file}", "--resolve", "user=So: {{ question }}")

    shown = await asyncio.to_thread(terminal, "prompts", "merge", "answer", "--from", "brief@3", *resolved)
    preview = await asyncio.to_thread(terminal, "prompts", "merge", "answer", "--from", "brief", "--dry-run")

    (request, dry) = service.merged
    assert (request.id, request.source, request.source_version, request.etag) == ("answer", "brief", 3, "7")
    assert dict(request.resolutions) == {"system": "Be both.", "user": "So: {{ question }}"}
    assert (dry.source_version, dry.validate_only, request.validate_only) == (0, True, False)
    assert "answer@2 is merged from brief@3" in shown.text
    assert "-Be kind.\n+Be brief." in shown.text
    assert "answer@2 would be merged from brief" in preview.text


async def test_a_merge_of_nothing_new_says_so(terminal: Terminal, service: Service) -> None:
    service.after = ANSWER

    shown = await asyncio.to_thread(terminal, "prompts", "merge", "answer", "--from", "brief")

    assert "answer@1 has all of brief already" in shown.text


@pytest.mark.parametrize("given", [["system"], ["system=a", "system=b"], ["system=@absent.jinja"]])
async def test_a_resolution_that_cannot_be_read_is_refused(
    terminal: Terminal, service: Service, given: list[str]
) -> None:
    options = [part for each in given for part in ("--resolve", each)]

    shown = await asyncio.to_thread(terminal, "prompts", "merge", "answer", "--from", "brief", *options)

    assert shown.code == 1
    assert "resolve" in shown.text or "absent.jinja cannot be read" in shown.text
    assert not service.merged


@pytest.mark.parametrize("command", ["show", "log"])
async def test_where_versions_come_from_is_shown(terminal: Terminal, service: Service, command: str) -> None:
    service.prompt = service.after

    shown = await asyncio.to_thread(terminal, "prompts", command, "answer")

    rows = [each.split() for each in shown.text.splitlines()]
    assert ["answer@1", "forked", "from", "main@4"] in rows
    assert ["answer@2", "merged", "from", "brief@3"] in rows
