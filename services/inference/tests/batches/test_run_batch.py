"""A batch from its file to its results, also when workers die, lines are broken, and live traffic needs the places."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.inference.tests.batches.batch_harness import (
    BOB,
    BatchHarness,
    FakeLive,
    ProcessKilled,
    request_line,
)
from services.inference.tests.fakes import ADA, ScriptedEngine, helpdesk, writing
from tidemill_core.application import Caller, Request, Requeue, ResourceKey
from tidemill_core.errors import DependencyUnavailable, RateLimited
from tidemill_inference.batches.domain.batch import BatchState
from tidemill_inference.batches.domain.errors import BatchLeaseLost
from tidemill_inference.batches.domain.lines import Result
from tidemill_inference.batches.places import LinePlaces
from tidemill_inference.batches.ports import LineAnswer
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_testkit.polling import eventually, run_ready_tasks


async def test_each_line_has_its_answer_by_its_own_name_in_the_order_of_the_file(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(
        await harness.begin(request_line("a"), "", request_line("b")), harness.worker(at_once=4)
    )

    assert (batch.state, batch.counts.total, batch.counts.completed, batch.error_file) == (
        BatchState.COMPLETED,
        2,
        2,
        "",
    )
    lines = await harness.written(batch.output_file)
    assert [line["custom_id"] for line in lines] == ["a", "b"]
    assert {line["response"]["body"]["choices"][0]["message"]["content"] for line in lines} == {
        harness.answers.engine.says
    }
    assert harness.results.rows == {}


async def test_a_broken_line_has_an_error_of_its_own_and_the_others_run(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(
        await harness.begin(
            request_line("a"),
            "{broken",
            "[1]",
            request_line("a"),
            request_line("get", method="GET"),
            request_line("other", url="/v1/embeddings"),
            request_line("none", body="text"),
            request_line("more", priority=1),
            request_line(""),
            request_line("long", "x" * 5000),
            request_line("bad", body={"model": "helpdesk", "messages": [], "frequency": 2}),
            request_line("stream", body={"model": "helpdesk", "messages": [], "stream": True}),
            request_line("unknown", body={"model": "absent", "messages": [{"role": "user", "content": "Hi"}]}),
        )
    )

    assert (batch.state, batch.counts.completed, batch.counts.failed) == (BatchState.COMPLETED, 1, 12)
    errors = await harness.written(batch.error_file)
    assert [(each["custom_id"], each["error"]["code"], each["error"]["line"]) for each in errors[:9]] == [
        (None, "invalid_json_line", 2),
        (None, "invalid_json_line", 3),
        ("a", "duplicate_custom_id", 4),
        ("get", "invalid_method", 5),
        ("other", "mismatched_url", 6),
        ("none", "missing_body", 7),
        ("more", "unknown_parameter", 8),
        (None, "missing_custom_id", 9),
        (None, "request_too_large", 10),
    ]
    refused = {each["custom_id"]: each["response"] for each in errors[9:]}
    assert {name: each["status_code"] for name, each in refused.items()} == {"bad": 400, "stream": 400, "unknown": 404}
    assert refused["bad"]["body"]["error"]["code"] == "unsupported_parameter"
    assert refused["unknown"]["body"]["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"model": "helpdesk", "prompt": "What does os.walk do?"}, "text_completion"),
        ("/v1/responses", {"model": "helpdesk", "input": "What does os.walk do?"}, "response"),
        ("/v1/embeddings", {"model": "words", "input": "a tree"}, "list"),
    ],
)
async def test_lines_ask_the_other_endpoints_too(
    tmp_path: Path, endpoint: str, body: dict[str, str], kind: str
) -> None:
    harness = BatchHarness(tmp_path)
    wrong = {**body, "suffix": "end"}
    lines = [request_line("a", url=endpoint, body=body), request_line("b", url=endpoint, body=wrong)]
    batch = await harness.carry_out(await harness.begin(*lines, endpoint=endpoint))

    [line] = await harness.written(batch.output_file)
    [error] = await harness.written(batch.error_file)
    assert (line["response"]["status_code"], line["response"]["body"]["object"]) == (200, kind)
    assert error["response"]["body"]["error"]["param"] == "suffix"


async def test_a_worker_that_is_killed_is_followed_by_one_that_asks_nothing_twice(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(*(request_line(str(n), f"Question {n}?") for n in range(1, 6)))
    harness.results.dies_before = 4  # answered and recorded, but lost to the batch
    with pytest.raises(ProcessKilled):
        await harness.carry_out(batch)
    assert harness.answers.engine.runs == 4

    harness.results.dies_before = 0
    batch = await harness.carry_out(batch, epoch=2)

    assert (batch.state, batch.counts.completed) == (BatchState.COMPLETED, 5)
    assert harness.answers.engine.runs == 5
    assert len(await harness.written(batch.output_file)) == 5


async def test_an_answer_that_is_not_recorded_and_was_lost_is_made_anew(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path, deployment=helpdesk(record=RecordMode.NONE))
    batch = await harness.begin(request_line("a"))
    harness.results.dies_before = 1
    with pytest.raises(ProcessKilled):
        await harness.carry_out(batch)
    harness.results.dies_before = 0

    batch = await harness.carry_out(batch, epoch=2)

    (line,) = await harness.written(batch.output_file)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == harness.answers.engine.says


async def test_results_that_were_written_before_the_worker_died_are_written_to_the_same_files(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(request_line("a"))
    first = harness.worker()

    async def dies(_batch: object, *, epoch: int) -> tuple[str, str]:
        await harness.worker().write(batch, epoch=epoch)
        raise ProcessKilled

    with pytest.raises(ProcessKilled):
        await harness.carry_out(batch, replace(first, write=dies))  # type: ignore[arg-type] # it is called the same way
    before = [each.id for each in harness.files.all()]
    batch = await harness.carry_out(batch, epoch=2)

    assert [each.id for each in harness.files.all()] == before
    assert batch.output_file in before
    assert harness.answers.engine.runs == 1


async def test_a_worker_that_lost_its_lease_changes_nothing(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(request_line("a"))
    await harness.batches.update(
        "acme", batch.id, lambda stored: stored.take(7, total=1, now=harness.clock.now()), request=Request.internal()
    )

    with pytest.raises(BatchLeaseLost):
        await harness.carry_out(batch, epoch=6)
    assert harness.answers.engine.runs == 0


async def test_a_cancelled_batch_ends_with_what_was_done(tmp_path: Path) -> None:
    engine = ScriptedEngine(free_words=1)
    harness = BatchHarness(tmp_path, engine)
    batch = await harness.begin(*(request_line(str(n), f"Question {n}?") for n in range(4)))
    engine.gate.clear()
    running = asyncio.create_task(harness.carry_out(batch))
    await eventually(lambda: engine.runs == 1)

    await harness.cancel(batch)
    await asyncio.sleep(0.05)
    engine.gate.set()
    batch = await running

    assert (batch.state, batch.counts.completed, batch.counts.total) == (BatchState.CANCELLED, 1, 4)
    assert len(await harness.written(batch.output_file)) == 1
    assert (await harness.cancel(batch)).state is BatchState.CANCELLED


async def test_what_has_no_answer_when_the_window_ends_is_an_error(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(request_line("a"), request_line("b"), window=timedelta(hours=1))
    harness.clock.advance(timedelta(hours=1))

    batch = await harness.carry_out(batch)

    assert (batch.state, batch.counts.failed, harness.answers.engine.runs) == (BatchState.EXPIRED, 2, 0)
    errors = await harness.written(batch.error_file)
    assert {each["error"]["code"] for each in errors} == {"batch_expired"}


async def test_a_revoked_credential_asks_no_further_line(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(request_line("a"))
    harness.authors.gone = True

    batch = await harness.carry_out(batch)

    assert (batch.state, batch.reason, harness.answers.engine.runs) == (BatchState.FAILED, "CREDENTIAL_REVOKED", 0)


async def test_a_file_that_is_gone_or_empty_fails_the_batch_by_name(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    empty = await harness.carry_out(await harness.begin("", " "))
    gone = await harness.begin(request_line("a"))
    await harness.file_crud.delete(ADA, gone.input_file, writing("delete"))

    assert (empty.state, empty.reason) == (BatchState.FAILED, "EMPTY_FILE")
    assert (await harness.carry_out(gone)).reason == "INPUT_FILE_GONE"


async def test_a_file_of_too_many_lines_is_answered_up_to_the_limit(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(*(request_line(str(n), f"Question {n}?") for n in range(4)))

    batch = await harness.carry_out(batch, harness.worker(max_lines=2))

    (error,) = await harness.written(batch.error_file)
    assert (batch.counts.completed, error["error"]["code"]) == (2, "too_many_requests_in_file")


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (DependencyUnavailable("the engine is down", dependency="engine"), 6),
        (RateLimited("too many", retry_after_s=0.5), 8),
    ],
)
async def test_what_may_be_answered_later_is_asked_again(tmp_path: Path, error: Exception, asked: int) -> None:
    harness, times = BatchHarness(tmp_path), 0

    async def answer(_caller: Caller, _endpoint: str, _body: bytes, *, request_id: str) -> LineAnswer:
        nonlocal times
        times += 1
        limited = isinstance(error, RateLimited)
        if limited and times == 8:
            return LineAnswer(status=200, body={"id": request_id})
        return LineAnswer(status=429 if limited else 503, body={}, retry_after_s=0.0)

    await harness.carry_out(await harness.begin(request_line("a")), harness.worker(answer=answer))

    assert times == asked


async def test_a_line_that_has_to_wait_leaves_its_place_to_other_batches(tmp_path: Path) -> None:
    harness, refilled, pauses = BatchHarness(tmp_path), asyncio.Event(), 0

    async def answer(caller: Caller, _endpoint: str, _body: bytes, *, request_id: str) -> LineAnswer:
        limited = caller.subject == ADA.subject and not refilled.is_set()
        return LineAnswer(status=429 if limited else 200, body={"id": request_id}, retry_after_s=1 if limited else None)

    async def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        await refilled.wait()

    worker = harness.worker(answer=answer, sleep=pause)
    waiting = await harness.begin(*(request_line(str(n)) for n in range(3)))
    running = asyncio.create_task(harness.carry_out(waiting, worker))
    await eventually(lambda: pauses == 1)
    async with asyncio.timeout(30):
        other = await harness.carry_out(await harness.begin(request_line("b"), caller=BOB), worker)
    assert (other.state, pauses) == (BatchState.COMPLETED, 1)

    refilled.set()
    assert (await running).counts.completed == 3


async def test_a_worker_that_lost_its_lease_overwrites_no_results(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(await harness.begin(request_line("a")), epoch=2)

    harness.results.rows[ResourceKey(project="acme", id=batch.id)] = {1: Result(line=1, ok=True, text="{}")}
    with pytest.raises(BatchLeaseLost):
        await harness.worker().write(batch, epoch=1)

    (line,) = await harness.written(batch.output_file)
    assert line["custom_id"] == "a"


async def test_results_that_a_store_did_not_remove_at_the_end_go_with_the_next_attempt(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(await harness.begin(request_line("a")))
    harness.results.rows[ResourceKey(project="acme", id=batch.id)] = {1: Result(line=1, ok=True, text="{}")}

    await harness.carry_out(batch, epoch=2)

    assert harness.results.rows == {}


async def test_a_batch_that_fails_keeps_no_results(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.begin(request_line("a"), request_line("b"))
    harness.results.dies_before = 2
    with pytest.raises(ProcessKilled):
        await harness.carry_out(batch)
    await harness.file_crud.delete(ADA, batch.input_file, writing("delete"))

    assert (await harness.carry_out(batch, epoch=2)).reason == "INPUT_FILE_GONE"
    assert harness.results.rows == {}


async def test_a_batch_of_many_lines_lets_others_have_their_turn_and_asks_nothing_twice(tmp_path: Path) -> None:
    harness, asked = BatchHarness(tmp_path), list[str]()

    async def answer(_caller: Caller, _endpoint: str, _body: bytes, *, request_id: str) -> LineAnswer:
        asked.append(request_id)
        harness.clock.advance(timedelta(minutes=1))
        await asyncio.sleep(0.05)
        return LineAnswer(status=200, body={"id": request_id})

    batch = await harness.begin(*(request_line(str(n)) for n in range(6)))
    key, worker = ResourceKey(project="acme", id=batch.id), harness.worker(answer=answer, turn=timedelta(minutes=2))
    turns = 1
    while await worker(key, epoch=turns) == Requeue(after=timedelta()):
        assert (await harness.batches.get("acme", batch.id)).state is BatchState.IN_PROGRESS
        turns += 1

    batch = await harness.batches.get("acme", batch.id)
    assert (batch.state, batch.counts.completed) == (BatchState.COMPLETED, 6)
    assert turns > 1
    assert len(set(asked)) == len(asked) == 6


async def test_lines_take_half_of_their_places_while_live_requests_run_and_none_while_these_wait() -> None:
    live = FakeLive()
    places = LinePlaces(live, at_most=4, poll_interval_s=0.001)

    async def taken() -> int:
        tasks = [asyncio.create_task(places.take(lambda: False)) for _ in range(6)]
        await run_ready_tasks()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        count = sum(not task.cancelled() for task in tasks)
        for _ in range(count):
            places.give()
        return count

    assert await taken() == 4
    live.held = 9
    assert await taken() == 2
    live.waiting = 1
    assert await taken() == 0
    assert await places.take(lambda: True) is False
