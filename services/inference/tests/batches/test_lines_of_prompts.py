"""Lines that ask for several answers: what they have is kept while they wait, and they wait between any two."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.inference.tests.batches.batch_harness import BatchHarness, request_line
from services.inference.tests.fakes import helpdesk
from tidemill_core.application import Caller, Request, Requeue, ResourceKey
from tidemill_core.errors import RateLimited
from tidemill_inference.batches.domain.batch import Batch, BatchState
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.openai_api.batch_lines import AnswerLines
from tidemill_testkit.polling import eventually

PROMPTS = ["Who?", "What?", "Where?"]


async def _nothing() -> None:
    """Does nothing."""


@dataclass(kw_only=True)
class Prompts:
    """A deployment that answers the line of three prompts; `refused` are the times that it refuses a prompt."""

    folder: Path
    record: RecordMode
    refused: dict[str, int] = field(default_factory=dict)
    after: Callable[[], Awaitable[None]] = _nothing
    """Done after each answer."""

    def __post_init__(self) -> None:
        self.harness = BatchHarness(self.folder, deployment=helpdesk(retrieval=None, record=self.record))

    @property
    def runs(self) -> int:
        return self.harness.answers.engine.runs

    def lines(self) -> AnswerLines:
        return replace(self.harness.lines(), answer=self)

    async def whole(self, caller: Caller, question: Question, *, request: Request) -> Inference:
        if self.refused.get(question.text):
            self.refused[question.text] -= 1
            message = "busy"
            raise RateLimited(message, retry_after_s=1)
        answered = await self.harness.answers.answer.whole(caller, question, request=request)
        await self.after()
        return answered

    async def begin(self, **options: Any) -> Batch:  # noqa: ANN401 - of the batch
        line = request_line("a", url="/v1/completions", body={"model": "helpdesk", "prompt": PROMPTS})
        return await self.harness.begin(line, endpoint="/v1/completions", **options)

    async def response(self, batch: Batch) -> dict[str, Any]:
        [result] = await self.harness.written(batch.output_file or batch.error_file)
        found: dict[str, Any] = result["response"]
        return found

    async def texts(self, batch: Batch) -> list[str]:
        return [each["text"] for each in (await self.response(batch))["body"]["choices"]]


@pytest.mark.parametrize("record", [RecordMode.FULL, RecordMode.NONE])
async def test_each_prompt_is_answered_once_however_often_another_has_to_wait(
    tmp_path: Path, record: RecordMode
) -> None:
    asked = Prompts(folder=tmp_path, record=record, refused={"What?": 20, "Where?": 20})

    ended = await asked.harness.carry_out(await asked.begin(), asked.harness.worker(answer=asked.lines()))

    assert await asked.texts(ended) == [asked.harness.answers.engine.says] * 3
    assert (asked.runs, ended.counts.completed) == (3, 1)
    assert (await asked.response(ended))["body"]["usage"] is not None


async def test_a_line_that_would_lose_answers_takes_them_to_their_end_beyond_the_turn(tmp_path: Path) -> None:
    asked = Prompts(folder=tmp_path, record=RecordMode.NONE)

    async def long() -> None:
        asked.harness.clock.advance(timedelta(minutes=1))
        await asyncio.sleep(0.03)  # so that the end of the turn is noticed

    asked.after = long
    worker = asked.harness.worker(answer=asked.lines(), turn=timedelta(seconds=1))

    batch = await asked.begin()
    await asked.harness.carry_out(batch, worker)

    assert list((await asked.harness.results.done(ResourceKey(project="acme", id=batch.id))).values()) == [True]
    assert asked.runs == 3


async def test_a_line_with_answers_that_waits_for_long_lets_others_have_their_turn(tmp_path: Path) -> None:
    asked = Prompts(folder=tmp_path, record=RecordMode.NONE, refused={"What?": 1_000_000})

    async def pause(_seconds: float) -> None:
        asked.harness.clock.advance(timedelta(seconds=30))
        await asyncio.sleep(0.005)

    worker = asked.harness.worker(answer=asked.lines(), turn=timedelta(minutes=1), sleep=pause)
    batch = await asked.begin()
    async with asyncio.timeout(30):
        assert await worker(ResourceKey(project="acme", id=batch.id), epoch=1) == Requeue(after=timedelta())

    asked.refused = {}
    ended = await asked.harness.carry_out(batch, asked.harness.worker(answer=asked.lines()), epoch=2)
    assert await asked.texts(ended) == [asked.harness.answers.engine.says] * 3


async def test_answers_that_were_lost_too_often_are_an_error_and_no_empty_text(tmp_path: Path) -> None:
    asked = Prompts(folder=tmp_path, record=RecordMode.NONE)
    batch = await asked.begin()
    line = asked.lines()
    author = batch.author.caller("acme")
    body = b'{"model": "helpdesk", "prompt": ["Who?", "What?"]}'
    for _ in range(10):
        assert await line(author, "/v1/completions", body, request_id="one").go_on() is None

    lost = await line(author, "/v1/completions", body, request_id="one").go_on()

    assert lost is not None
    assert (lost.status, lost.retry_after_s, asked.runs) == (400, None, 10)
    assert lost.body["error"]["code"] == "answer_not_recorded"  # type: ignore[index] # of errors


@pytest.mark.parametrize("record", [RecordMode.FULL, RecordMode.NONE])
async def test_a_cancelled_batch_asks_for_no_further_answer_of_a_line(tmp_path: Path, record: RecordMode) -> None:
    asked, cancelled = Prompts(folder=tmp_path, record=record), asyncio.Event()
    batch = await asked.begin()

    async def cancel() -> None:
        await asked.harness.cancel(batch)
        asked.harness.live.waiting = 1
        cancelled.set()

    asked.after = cancel
    async with asyncio.timeout(30):
        ended = await asked.harness.carry_out(batch, asked.harness.worker(answer=asked.lines()))

    assert cancelled.is_set()
    assert (ended.state, asked.runs) == (BatchState.CANCELLED, 1)


async def test_the_answers_of_a_line_give_way_to_live_requests(tmp_path: Path) -> None:
    asked = Prompts(folder=tmp_path, record=RecordMode.NONE)

    async def live() -> None:
        asked.harness.live.waiting = 1

    asked.after = live
    running = asyncio.create_task(
        asked.harness.carry_out(await asked.begin(), asked.harness.worker(answer=asked.lines()))
    )
    for answered in (1, 2, 3):
        await eventually(lambda: asked.harness.live.waiting == 1)
        assert asked.runs == answered
        asked.harness.live.waiting = 0
    assert (await running).counts.completed == 1


async def test_an_erased_end_user_is_asked_for_no_further_answer_of_a_line(tmp_path: Path) -> None:
    asked = Prompts(folder=tmp_path, record=RecordMode.NONE)
    batch = await asked.begin()

    async def erase() -> None:
        asked.harness.gone[batch.creator] = asked.harness.clock.now()

    asked.after = erase
    ended = await asked.harness.carry_out(batch, asked.harness.worker(answer=asked.lines()))

    [error] = await asked.harness.written(ended.error_file)
    assert (error["error"]["code"], asked.runs) == ("end_user_erased", 1)
