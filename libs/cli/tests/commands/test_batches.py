import asyncio
import json
import os
from pathlib import Path

import pytest

from libs.cli.tests.commands.batch_answers import BATCH, BatchAnswers, request_line
from libs.cli.tests.commands.conftest import Said, Terminal, check_reports
from tidemill.inference.v1 import batch_pb2
from tidemill.inference.v1.batch_pb2 import Batch
from tidemill_core.errors import Unauthenticated

UNKNOWN_KEY = Unauthenticated("the key has expired")


def asked(folder: Path, *lines: str) -> Path:
    file = folder / "asked.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


async def ran(terminal: Terminal, *arguments: str | Path) -> Said:
    return await asyncio.to_thread(terminal, "batches", "run", *map(str, arguments), "--json")


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("batches list", ["batch_1", "/v1/chat/completions", "in progress", "12", "50"]),
        ("batches show batch_1", ["batch_1", "12 of 50", "team=search", "file-1"]),
        ("batches cancel batch_1", ["batch_1", "cancelling"]),
        ("files list --purpose batch_output", ["file-1", "asked.jsonl", "batch output", "user:ada"]),
        ("files show file-1", ["file-1", "asked.jsonl", "12"]),
    ],
)
async def test_a_command_of_batches_reports_people_and_programs(
    terminal: Terminal, command: str, reported: list[str]
) -> None:
    await check_reports(terminal, command, reported)


async def test_a_file_is_asked_and_its_results_are_written(terminal: Terminal, tmp_path: Path) -> None:
    said = await ran(terminal, asked(tmp_path, request_line(1), request_line(2)), "--label", "team=search")

    assert said.code == 0, said.text
    assert said.data["batch"]["state"] == "BATCH_STATE_COMPLETED"
    assert (said.data["batch"]["completed"], said.data["batch"]["labels"]) == (2, {"team": "search"})
    assert (said.data["results"], said.data["errors"]) == (str(tmp_path / "asked.results.jsonl"), "")
    assert [json.loads(line)["custom_id"] for line in _lines(tmp_path / "asked.results.jsonl")] == ["1", "2"]
    assert sorted(await asyncio.to_thread(os.listdir, tmp_path)) == ["asked.jsonl", "asked.results.jsonl"]


async def test_errors_are_written_beside_the_results_and_are_no_success(terminal: Terminal, tmp_path: Path) -> None:
    file = asked(tmp_path, request_line(1), request_line(2, text="fail"))

    said = await ran(terminal, file, "-o", tmp_path / "out.jsonl")

    assert said.code == 1
    assert said.data["errors"] == str(tmp_path / "out.errors.jsonl")
    assert len(_lines(tmp_path / "out.jsonl")) == len(_lines(tmp_path / "out.errors.jsonl")) == 1


async def test_errors_of_an_earlier_run_do_not_stay(terminal: Terminal, tmp_path: Path) -> None:
    await ran(terminal, asked(tmp_path, request_line(1, text="fail"), request_line(2)))

    said = await ran(terminal, asked(tmp_path, request_line(1), request_line(2)))

    assert said.code == 0
    assert not (tmp_path / "asked.errors.jsonl").exists()


async def test_a_run_that_was_interrupted_goes_on(terminal: Terminal, batches: BatchAnswers, tmp_path: Path) -> None:
    file = asked(tmp_path, request_line(1), request_line(2), request_line(3))
    batches.errors = [None, UNKNOWN_KEY]
    broken = await ran(terminal, file)

    said = await ran(terminal, file)

    assert (broken.code, said.code) == (1, 0)
    assert batches.calls == ["upload asked.jsonl", "create /v1/chat/completions"]
    assert said.data["batch"]["completed"] == 3
    assert len(_lines(tmp_path / "asked.results.jsonl")) == 3


async def test_a_beginning_whose_answer_was_lost_is_the_same_one(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    file = asked(tmp_path, request_line(1))
    batches.lost = [UNKNOWN_KEY]

    broken, said = await ran(terminal, file), await ran(terminal, file)

    assert (broken.code, said.code) == (1, 0)
    assert batches.batches.keys() == {BATCH.id, said.data["batch"]["id"]}


@pytest.mark.parametrize(("name", "output"), [("q.jsonl", "q.jsonl"), ("q.errors.jsonl", "q.jsonl")])
async def test_results_never_replace_the_requests(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path, name: str, output: str
) -> None:
    file = asked(tmp_path, request_line(1)).rename(tmp_path / name)

    said = await ran(terminal, file, "-o", tmp_path / output)

    assert "would replace" in said.data["error"]["message"]
    assert (batches.calls, file.read_text()) == ([], f"{request_line(1)}\n")


async def test_a_file_that_changes_while_it_is_sent_begins_nothing(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    file = asked(tmp_path, request_line(1))
    batches.cut = 5

    said = await ran(terminal, file)

    assert "changed while it was uploaded" in said.data["error"]["message"]
    assert batches.calls == ["upload asked.jsonl"]


async def test_a_run_that_came_to_its_end_begins_anew(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    file = asked(tmp_path, request_line(1))

    first, second = await ran(terminal, file), await ran(terminal, file)

    assert first.data["batch"]["id"] != second.data["batch"]["id"]
    assert len(batches.calls) == 4


async def test_a_batch_that_is_gone_begins_anew(terminal: Terminal, batches: BatchAnswers, tmp_path: Path) -> None:
    file = asked(tmp_path, request_line(1))
    batches.errors = [UNKNOWN_KEY]
    await ran(terminal, file)
    batches.batches.clear()

    said = await ran(terminal, file)

    assert said.code == 0
    assert len(batches.calls) == 4


async def test_a_changed_file_does_not_take_the_results_of_the_batch_before(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    batches.errors = [UNKNOWN_KEY]
    await ran(terminal, asked(tmp_path, request_line(1)))
    changed = asked(tmp_path, request_line(1), request_line(2))

    refused, other = await ran(terminal, changed), await ran(terminal, changed, "--anew")

    assert (refused.code, refused.data["error"]["reason"]) == (1, "ANOTHER_BATCH_BEGUN")
    assert "--output" in refused.data["error"]["message"]
    assert other.data["batch"]["completed"] == 2


@pytest.mark.parametrize("content", ["", "\n\n", "What?\n", "[]\n", '{"url": 3}\n'])
async def test_what_is_no_file_of_requests_is_refused_before_it_is_sent(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text(content)

    said = await ran(terminal, file)

    assert said.code == 1
    assert str(file) in said.data["error"]["message"]
    assert batches.calls == []


async def test_a_batch_of_another_project_keeps_its_results(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    file = asked(tmp_path, request_line(1))
    batches.errors = [UNKNOWN_KEY]
    await ran(terminal, file)
    state = tmp_path / ".asked.results.jsonl.batch"
    state.write_text(state.read_text().replace("acme", "globex"))

    said = await ran(terminal, file)

    assert "globex" in said.data["error"]["message"]


async def test_results_are_fetched_at_the_end_of_a_batch(
    terminal: Terminal, batches: BatchAnswers, tmp_path: Path
) -> None:
    ended = Batch(id="batch_2", state=batch_pb2.BATCH_STATE_COMPLETED, output_file="file-1")
    batches.batches[ended.id] = ended

    early = await asyncio.to_thread(terminal, "batches", "results", BATCH.id)
    none = await asyncio.to_thread(terminal, "batches", "results", ended.id, "--errors")
    piped = await asyncio.to_thread(terminal, "batches", "results", ended.id)
    to_file = await asyncio.to_thread(
        terminal, "batches", "results", ended.id, "-o", str(tmp_path / "r.jsonl"), "--json"
    )

    assert (early.code, none.code) == (1, 1)
    assert "13 of 50" in early.text
    assert "has no errors" in none.text
    assert piped.text == '{"id": "1"}\n'
    assert to_file.data == {"file": str(tmp_path / "r.jsonl"), "bytes": 12}


async def test_a_file_is_fetched_and_deleted(terminal: Terminal, batches: BatchAnswers) -> None:
    fetched = await asyncio.to_thread(terminal, "files", "get", "file-1")
    deleted = await asyncio.to_thread(terminal, "files", "delete", "file-1")

    assert fetched.text == '{"id": "1"}\n'
    assert "file-1 is deleted" in deleted.text
    assert "file-1" not in batches.files


@pytest.mark.parametrize("option", [["--window", "soon"], ["--label", "team"]])
async def test_an_option_that_cannot_be_is_refused(terminal: Terminal, tmp_path: Path, option: list[str]) -> None:
    said = await asyncio.to_thread(terminal, "batches", "run", str(asked(tmp_path, request_line(1))), *option)

    assert said.code == 2


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()
