"""Lines of a batch are asked with the rights of who began it, and for no one who was erased since."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.inference.tests.batches.batch_harness import (
    BOB,
    ENDPOINT,
    BatchHarness,
    request_line,
)
from tidemill_core.application import Caller, ResourceKey
from tidemill_inference.batches.domain.lines import Result
from tidemill_inference.batches.ports import LineAnswer


def lines_of(*people: str) -> list[str]:
    asked = {"model": "helpdesk", "messages": [{"role": "user", "content": "Hi"}]}
    return [request_line(name, body={**asked, "user": name}) for name in people]


async def test_a_line_is_asked_with_the_rights_of_who_began_the_batch(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    foreign = {"model": "helpdesk", "messages": [{"role": "user", "content": "Hi"}], "user": "ada"}
    batch = await harness.carry_out(
        await harness.begin(request_line("own"), request_line("ada", body=foreign), caller=BOB)
    )

    assert (await harness.answers.only_record()).end_user == BOB.subject
    (error,) = await harness.written(batch.error_file)
    assert error["response"]["status_code"] == 403


async def test_a_line_of_who_was_erased_since_the_batch_began_is_not_asked(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch, own = await harness.begin(*lines_of("u-1", "u-2")), await harness.begin(request_line("own"), caller=BOB)
    harness.gone = {"u-1": harness.clock.now(), BOB.subject: harness.clock.now()}

    batch, own = await harness.carry_out(batch), await harness.carry_out(own)

    assert (await harness.answers.only_record()).end_user == "u-2"
    for each, name in ((batch, "u-1"), (own, "own")):
        [error] = await harness.written(each.error_file)
        assert (error["custom_id"], error["error"]["code"]) == (name, "end_user_erased")
    harness.clock.advance(timedelta(seconds=1))
    later = await harness.carry_out(await harness.begin(request_line("x"), request_line("y"), caller=BOB))
    assert later.counts.completed == 2


async def test_an_answer_to_who_was_erased_while_it_was_made_or_written_is_in_no_file(tmp_path: Path) -> None:
    harness, given = BatchHarness(tmp_path), lines_of("u-1", "u-2", "u-3")

    async def answer(_caller: Caller, _endpoint: str, body: bytes, *, request_id: str) -> LineAnswer:
        name = json.loads(body)["user"]
        if name == "u-1":
            harness.gone[name] = harness.clock.now()
        return LineAnswer(status=200, body={"id": request_id}, end_user=name)

    batch = await harness.begin(*given)
    key, worker = ResourceKey(project="acme", id=batch.id), harness.worker(answer=answer)
    harness.results.rows[key] = {9: Result(line=9, ok=True, text='{"custom_id":"u-4"}', end_user="u-4")}
    harness.gone["u-4"] = harness.clock.now()
    batch = await harness.carry_out(batch, worker)

    assert [each["custom_id"] for each in await harness.written(batch.output_file)] == ["u-2", "u-3"]
    assert [each["error"]["code"] for each in await harness.written(batch.error_file)] == ["end_user_erased"]
    assert len(harness.objects.buckets["files"]) == 3


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (ENDPOINT, {}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"model": "helpdesk", "input": "Hi"}),
        ("/v1/embeddings", {"model": "words", "input": "a tree"}),
    ],
)
async def test_a_key_that_may_only_begin_batches_asks_nothing_by_them(
    tmp_path: Path, endpoint: str, body: dict[str, str]
) -> None:
    harness, rpcs = BatchHarness(tmp_path), {"tidemill.inference.v1.BatchService/CreateBatch"}
    asked = json.loads(request_line("a", url=endpoint))
    given = json.dumps({**asked, "body": body or asked["body"]})

    batch = await harness.carry_out(
        await harness.begin(given, caller=replace(BOB, scopes=frozenset(rpcs)), endpoint=endpoint)
    )

    [error] = await harness.written(batch.error_file)
    assert (error["response"]["status_code"], error["response"]["body"]["error"]["code"]) == (403, "scope_missing")
