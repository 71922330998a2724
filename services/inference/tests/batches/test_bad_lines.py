"""A line that cannot be read, asked or stored costs the other lines of its batch nothing."""

from pathlib import Path

import pytest

from services.inference.tests.batches.batch_harness import (
    MAX_DOCUMENT_BYTES,
    BatchHarness,
    request_line,
)
from tidemill_core.application import Caller
from tidemill_inference.batches import run_batch
from tidemill_inference.batches.domain.batch import BatchState
from tidemill_inference.batches.domain.lines import body_of
from tidemill_inference.batches.ports import LineAnswer


async def test_half_a_surrogate_pair_costs_its_own_line_only(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    lines = request_line("half", "half a pair: \ud83d"), request_line("\ud83d"), request_line("a")
    batch = await harness.carry_out(await harness.begin(*lines))

    [error] = await harness.written(batch.error_file)
    assert (batch.state, batch.counts.completed, batch.counts.failed) == (BatchState.COMPLETED, 2, 1)
    assert (error["custom_id"], error["response"]["status_code"]) == ("half", 400)
    assert [each["custom_id"] for each in await harness.written(batch.output_file)] == ["\ud83d", "a"]


async def test_a_body_that_is_nested_too_deeply_costs_its_own_line_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_deep(raw: bytes) -> bytes:
        if b"deep" in raw:
            raise RecursionError  # what could be read deeper in the stack than it can be written
        return body_of(raw)

    monkeypatch.setattr(run_batch, "body_of", too_deep)
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(await harness.begin(request_line("deep"), request_line("a")))

    [error] = await harness.written(batch.error_file)
    assert (batch.counts.completed, error["custom_id"], error["error"]["code"]) == (1, "deep", "invalid_json_line")


async def test_an_answer_that_no_document_takes_is_an_error_of_its_line(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)

    async def answer(_caller: Caller, _endpoint: str, body: bytes, *, request_id: str) -> LineAnswer:
        return LineAnswer(status=200, body={"id": request_id, "text": "x" * (MAX_DOCUMENT_BYTES * (b"much" in body))})

    given = await harness.begin(request_line("a", "much"), request_line("b", "little"))
    batch = await harness.carry_out(given, harness.worker(answer=answer))

    [error] = await harness.written(batch.error_file)
    assert (batch.counts.completed, error["custom_id"], error["error"]["code"]) == (1, "a", "answer_too_large")
