import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from libs.cli.tests.commands.batch_answers import BatchAnswers, request_line
from libs.cli.tests.loop.running import Running
from tidemill.inference.v1.batch_pb2 import BATCH_STATE_COMPLETED, Batch
from tidemill.inference.v1.file_pb2 import FILE_PURPOSE_BATCH_OUTPUT
from tidemill_client import Tidemill
from tidemill_core.errors import DeadlineExceeded, InvalidInput
from tidemill_testkit.access import admin_token


@pytest.fixture
def answers() -> BatchAnswers:
    return BatchAnswers()


@pytest.fixture
async def tidemill(answers: BatchAnswers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tidemill]:
    monkeypatch.setattr("tidemill_client.waiting.POLL_S", 0.01)
    services = Running()
    services.answers.update(answers.answers())
    services.start()
    async with Tidemill("acme", services.addresses(), credential=admin_token) as client:
        yield client
    services.stop()


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Larger than one message."""
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(f"{request_line(number, text='?' * 200_000)}\n" for number in range(3)))
    return file


async def test_a_file_of_questions_becomes_a_file_of_answers(tidemill: Tidemill, asked: Path) -> None:
    sent: list[int] = []
    seen: list[Batch] = []

    file = await tidemill.files.upload(asked, progress=sent.append)
    batch = await tidemill.batches.create(
        file.id, endpoint="/v1/chat/completions", completion_window=timedelta(hours=2), labels={"team": "search"}
    )
    batch = await tidemill.batches.wait(batch.id, watch=seen.append)

    answers = b"".join([piece async for piece in tidemill.files.content(batch.output_file)])
    assert (batch.state, batch.completed, dict(batch.labels)) == (BATCH_STATE_COMPLETED, 3, {"team": "search"})
    assert batch.completion_window.ToTimedelta() == timedelta(hours=2)
    assert [json.loads(line)["custom_id"] for line in answers.splitlines()] == ["0", "1", "2"]
    assert (sent[-1], sent) == (file.size, sorted(sent))
    assert [each.completed for each in seen[:4]] == [1, 2, 3, 3]


async def test_files_and_batches_are_listed_and_removed(tidemill: Tidemill, answers: BatchAnswers) -> None:
    listed = [file.id async for file in tidemill.files.all(purpose=FILE_PURPOSE_BATCH_OUTPUT)]
    begun = [batch.id async for batch in tidemill.batches.all()]
    deleted = await tidemill.files.delete(listed[0])

    assert (listed, begun, deleted.id) == (["file-1"], ["batch_1"], "file-1")
    assert answers.files == {}


async def test_a_batch_that_takes_longer_goes_on(tidemill: Tidemill) -> None:
    with pytest.raises(DeadlineExceeded, match="batch batch_1; it continues"):
        await tidemill.batches.wait("batch_1", within_s=0)


async def test_a_file_that_is_not_there_is_refused_by_name(tidemill: Tidemill, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.jsonl: cannot be read: No such file"):
        await tidemill.files.upload(tmp_path / "missing.jsonl")
