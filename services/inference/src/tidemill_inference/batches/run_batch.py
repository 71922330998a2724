"""Carry a batch out: each line once, whatever dies in between."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tidemill_core.application import Clock, Request, Requeue, ResourceKey, derived_id
from tidemill_inference.batches.domain.batch import Batch, BatchState, Counts
from tidemill_inference.batches.domain.errors import BatchNotFound
from tidemill_inference.batches.domain.lines import (
    MAX_RESULT_BYTES,
    NOT_JSON,
    Line,
    Result,
    answer_line,
    body_of,
    error_line,
    lines_of,
)
from tidemill_inference.batches.ports import (
    AnswerLine,
    AskedLine,
    Authors,
    Batches,
    ErasedEndUsers,
    LineAnswer,
    Places,
    Results,
)
from tidemill_inference.batches.write_results import WriteResults
from tidemill_inference.files.domain.errors import FileNotFound
from tidemill_inference.files.domain.people import people_of
from tidemill_inference.files.ports import Contents, Files

_MAX_ATTEMPTS = 6
"""Of a line whose dependencies are down; what only has to wait for its turn tries on until the window ends."""
_PAUSE_S, _MAX_PAUSE_S = 1.0, 30.0
_RATE_LIMITED = 429
_PATIENCE = timedelta(minutes=2)
"""How long after the batch's turn a line waits for its next answer where it would lose those that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLimits:
    """How many requests a file may have, how many bytes one of them, and how many of a batch are in work at once."""

    lines: int
    line_bytes: int
    at_once: int


@dataclass(slots=True, kw_only=True)
class _Progress:
    """A batch in this worker's hands."""

    batch: Batch
    key: ResourceKey
    epoch: int
    lines: Sequence[Line]
    begun: asyncio.Semaphore
    """For lines that are asked, or wait to be asked again."""
    done: set[int]
    counts: Counter[str]
    turn_ends: datetime
    stopped: BatchState | None = None
    """As what it ends before all lines are asked."""
    paused: bool = False
    """Whether others have their turn before it goes on."""

    @property
    def halted(self) -> bool:
        """Whether no further line is begun."""
        return self.paused or self.stopped is not None

    @property
    def totals(self) -> Counts:
        return Counts(total=len(self.lines), completed=self.counts["ok"], failed=self.counts["error"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBatch:
    """The id of a line's request is made of batch and line: asked again, it returns the answer that is recorded.

    What came of a line is stored before the next thing happens to it. At the end all of it is written to two files,
    whose ids are made of the batch's.
    """

    batches: Batches
    files: Files
    contents: Contents
    results: Results
    write: WriteResults
    answer: AnswerLine
    authors: Authors
    erased: ErasedEndUsers
    places: Places
    limits: LineLimits
    clock: Clock
    tick: timedelta
    turn: timedelta
    """After so long the batches of others that wait have their turn."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Take a batch to its end, or as far as one turn takes it; return when to go on.

        Raises:
            BatchLeaseLost: another worker has it.
            DependencyUnavailable: a store does not answer; the next attempt goes on from here.

        """
        try:
            batch = await self.batches.get(key.project, key.id)
        except BatchNotFound:
            return None
        if batch.final:
            await self.results.remove(key)  # the end was recorded, and the store did not answer then
            return None
        try:
            file = await self.files.get(key.project, batch.input_file)
        except FileNotFound as error:
            await self._fail(key, epoch, reason="INPUT_FILE_GONE", message=error.message)
            return None
        async with self.contents.local(file.content) as path:
            return await self._run(batch, key, epoch, path)

    async def _run(self, batch: Batch, key: ResourceKey, epoch: int, path: Path) -> Requeue | None:
        lines = await asyncio.to_thread(self._lines, path, batch.endpoint)
        if not lines:
            await self._fail(key, epoch, reason="EMPTY_FILE", message="the input file has no request")
            return None
        now = self.clock.now()
        batch = await self._update(key, lambda stored: stored.take(epoch, total=len(lines), now=now))
        done = await self.results.done(key)
        progress = _Progress(
            batch=batch,
            key=key,
            epoch=epoch,
            lines=lines,
            begun=asyncio.Semaphore(self.limits.at_once),
            done=set(done),
            counts=Counter("ok" if ok else "error" for ok in done.values()),
            turn_ends=now + self.turn,
        )
        await self._ask(progress, path)
        if progress.paused:
            return Requeue(after=timedelta())
        await self._finish(progress)
        return None

    def _lines(self, path: Path, endpoint: str) -> Sequence[Line]:
        with path.open("rb") as file:
            limits = self.limits
            return [*lines_of(file, endpoint=endpoint, max_lines=limits.lines, max_bytes=limits.line_bytes)]

    async def _ask(self, progress: _Progress, path: Path) -> None:
        """Ask every line that is not done, until the batch is stopped."""
        await self._check_state(progress)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(progress))
                async with asyncio.TaskGroup() as asking:
                    for line in progress.lines:
                        if progress.halted:
                            break
                        if line.number not in progress.done:
                            await self._begin(asking, progress, line, path)
                watching.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from failed

    async def _begin(self, asking: asyncio.TaskGroup, progress: _Progress, line: Line, path: Path) -> None:
        """Begin a line once there is a place for it; what is no request has its error at once."""
        if line.code:
            text = error_line(_line_id(progress, line), line, code=line.code, message=line.message)
            await self._add(progress, Result(line=line.number, ok=False, text=text))
            return
        await progress.begun.acquire()
        place = _Place(self.places)
        if not await place.take(lambda: progress.halted):
            return
        task = asking.create_task(self._one(progress, line, path, place))
        task.add_done_callback(lambda _: place.give())  # also of one that is cancelled before it begins
        task.add_done_callback(lambda _: progress.begun.release())

    async def _one(self, progress: _Progress, line: Line, path: Path, place: "_Place") -> None:
        caller, line_id = progress.batch.author.caller(progress.key.project), _line_id(progress, line)
        (body, people), attempts = await asyncio.to_thread(_request, path, line), 0
        if body is None:
            text = error_line(line_id, line, code="invalid_json_line", message=NOT_JSON)
            await self._add(progress, Result(line=line.number, ok=False, text=text))
            return
        asked = self.answer(caller, progress.batch.endpoint, body, request_id=line_id)
        stops = _Stops(progress, asked, self.clock)
        while not await self._refused(progress, line, people):
            answer = await asked.go_on()
            if answer is None:
                attempts, pause_s = 0, 0.0
                stops.answered()
            else:
                attempts += answer.status != _RATE_LIMITED
                if answer.retry_after_s is None or attempts >= _MAX_ATTEMPTS:
                    if not await self._refused(progress, line, people):
                        await self._add(progress, await asyncio.to_thread(_result, line, line_id, answer))
                    return
                pause_s = min(_MAX_PAUSE_S, max(answer.retry_after_s, _PAUSE_S * 2**attempts))
            place.give()  # the lines of others need not wait until this one may be asked again
            if pause_s:
                await self.sleep(pause_s)
            if not await place.take(stops):
                return

    async def _refused(self, progress: _Progress, line: Line, people: Collection[str]) -> bool:
        """Refuse a line of someone who was erased since the batch began: the file was read before."""
        batch = progress.batch
        erased = await self.erased(batch.project, people or {batch.creator})
        if not batch.predates(erased.values()):
            return False
        message = "its end user was erased after the batch was begun"
        text = error_line(_line_id(progress, line), line, code="end_user_erased", message=message)
        await self._add(progress, Result(line=line.number, ok=False, text=text))
        return True

    async def _add(self, progress: _Progress, result: Result) -> None:
        await self.results.add(progress.key, result)
        progress.counts["ok" if result.ok else "error"] += 1
        progress.done.add(result.line)

    async def _watch(self, progress: _Progress) -> None:
        """Report how far it is, and learn of its end, also while lines that were begun go on."""
        while progress.stopped is None:
            await asyncio.sleep(self.tick.total_seconds())
            await self._check_state(progress)

    async def _check_state(self, progress: _Progress) -> None:
        key, totals, epoch = progress.key, progress.totals, progress.epoch
        batch = await self.batches.get(key.project, key.id)
        if batch.counts != totals:
            batch = await self._update(key, lambda stored: stored.count(epoch, totals))
        if batch.state is BatchState.CANCELLING:
            progress.stopped = BatchState.CANCELLED
        elif self.authors.revoked(batch):
            progress.stopped = BatchState.FAILED
        elif self.clock.now() >= batch.expire_time:
            progress.stopped = BatchState.EXPIRED
        else:
            progress.paused = self.clock.now() >= progress.turn_ends

    async def _finish(self, progress: _Progress) -> None:
        """Write the results, then record the end, then let go of what is in the files now."""
        key, epoch = progress.key, progress.epoch
        if progress.stopped is BatchState.FAILED:
            message = "the credential that asked for it was revoked, or what gave it its rights"
            await self._fail(key, epoch, reason="CREDENTIAL_REVOKED", message=message)
            return
        if progress.stopped is BatchState.EXPIRED:
            await self._expire(progress)
        await self._update(key, lambda stored: stored.finalize(epoch))
        written = await self.write(progress.batch, epoch=epoch)
        state, totals, now = progress.stopped or BatchState.COMPLETED, progress.totals, self.clock.now()

        def finish(stored: Batch) -> None:
            stored.finish(epoch, state, counts=totals, files=written, now=now)

        await self._update(key, finish)
        await self.results.remove(key)

    async def _expire(self, progress: _Progress) -> None:
        message = "the completion window of the batch ended before this request was answered"
        for line in progress.lines:
            if line.number not in progress.done:
                text = error_line(_line_id(progress, line), line, code="batch_expired", message=message)
                await self._add(progress, Result(line=line.number, ok=False, text=text))

    async def _fail(self, key: ResourceKey, epoch: int, *, reason: str, message: str) -> None:
        now = self.clock.now()
        await self._update(key, lambda stored: stored.fail(epoch, reason=reason, message=message, now=now))
        await self.results.remove(key)

    async def _update(self, key: ResourceKey, change: Callable[[Batch], None]) -> Batch:
        return await self.batches.update(key.project, key.id, change, request=Request.internal())


class _Place:
    """The place of one line, which may be given back for a while."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held = False

    async def take(self, stopped: Callable[[], bool]) -> bool:
        self._held = await self._places.take(stopped)
        return self._held

    def give(self) -> None:
        if self._held:
            self._held = False
            self._places.give()


class _Stops:
    """Says whether a line in work asks no more: one that would lose its answers goes on for a while after the turn."""

    def __init__(self, progress: _Progress, asked: AskedLine, clock: Clock) -> None:
        self._progress = progress
        self._asked = asked
        self._clock = clock
        self.answered()

    def answered(self) -> None:
        self._since = self._clock.now()

    def __call__(self) -> bool:
        progress = self._progress
        if progress.stopped is not None or not self._asked.held:
            return progress.halted
        return progress.paused and self._clock.now() >= self._since + _PATIENCE


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one of the errors of tasks that ended each other."""
    one = failed.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one


def _line_id(progress: _Progress, line: Line) -> str:
    """Return the id of a line's request, which is that of no other."""
    key = progress.key
    return f"batch_req_{derived_id(key.project, key.id, str(line.number)).replace('-', '')}"


def _result(line: Line, line_id: str, answer: LineAnswer) -> Result:
    ok, text = answer.ok, answer_line(line_id, line, status=answer.status, body=answer.body, end_user=answer.end_user)
    if (size := len(text.encode())) > MAX_RESULT_BYTES:
        message = f"the answer has {size} bytes; the limit is {MAX_RESULT_BYTES}: ask for less in one line"
        ok, text = False, error_line(line_id, line, code="answer_too_large", message=message)
    return Result(line=line.number, ok=ok, text=text, end_user=answer.end_user)


def _request(path: Path, line: Line) -> tuple[bytes | None, Collection[str]]:
    """Return the body of a line and whom it names; None where it cannot be written out again, nested too deeply."""
    with path.open("rb") as file:
        file.seek(line.offset)
        raw = file.read(line.size)
    try:
        return body_of(raw), people_of(raw)
    except (ValueError, RecursionError):
        return None, ()
