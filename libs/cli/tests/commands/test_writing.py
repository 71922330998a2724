"""Files that commands write to a given path."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.ingest.v1.dataset_service_pb2 import ExportDatasetVersionResponse


async def _pieces(_request: object) -> AsyncIterator[ExportDatasetVersionResponse]:
    yield ExportDatasetVersionResponse(chunk=b"{}\n")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("lineage model_version m@1 --svg missing/x.svg", "No such file or directory"),
        ("datasets export helpdesk_sft@2 -o missing/x.jsonl", "No such file or directory"),
        ("datasets export helpdesk_sft@2 -o folder", "Is a directory"),
        ("init file/loop", "Not a directory"),
    ],
)
async def test_a_file_that_cannot_be_written_is_named_with_the_reason(
    terminal: Terminal, running: Running, tmp_path: Path, command: str, why: str
) -> None:
    running.answers["ingest.v1.dataset_service:ExportDatasetVersion"] = _pieces
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    *words, file = command.split()
    path = str(tmp_path / file)

    people = await asyncio.to_thread(terminal, *words, path)
    programs = await asyncio.to_thread(terminal, *words, path, "--json")

    assert (people.code, programs.code) == (1, 1)
    assert f"{path} cannot be written: {why}" in people.text
    assert programs.data["error"]["reason"] == "INVALID_INPUT"
