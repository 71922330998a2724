"""A running generation and its listeners."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

from tidemill_core.deadlines import begin_shared
from tidemill_core.errors import (
    Blame,
    DeadlineExceeded,
    DependencyTimedOut,
    RequestIdReused,
    TidemillError,
)
from tidemill_inference.budgets.domain.rate_limits import RateLimits
from tidemill_inference.engines.ports import Piece, ToolCallPiece
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.drafts import joined
from tidemill_inference.generation.ports import Delta, Finished, Started, Step, ToolCallDelta
from tidemill_inference.routing.domain.attempt import Attempt
from tidemill_kit.workers.fair_queue import FairQueue, QueueFull, QueueLimits, Share

RAG = "rag"
_BUSY_PAUSE_S = 1.0


@dataclass(slots=True, kw_only=True)
class Generation:
    """The answer so far.

    All listeners share its pieces, and each has its own offset: a slow one lags, delays no other, and gets what it
    missed in one piece. So every listener's queue is bounded by the length of the answer.
    """

    digest: str
    started: Inference | None = None
    pieces: list[Piece | ToolCallPiece] = field(default_factory=list)
    finished: Inference | None = None
    waiting_for: str = ""
    """What has to answer next; "" once text is coming."""
    blame: Blame = Blame.SHARED
    """Of its not answering in time."""
    listeners: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    """The calls of models so far; all of them where it has failed, or was cancelled."""
    failures: dict[str, TidemillError] = field(default_factory=dict)
    """Of each model that failed, its last failure."""
    missed: TidemillError | None = None
    """The error that the last listener got at its deadline; None if it was cancelled."""
    task: asyncio.Task[Inference] | None = None
    queued: bool = True
    """Whether it still waits for a place."""
    queue_s: float = 0.0
    """How long it has waited for its place."""
    limits: RateLimits | None = None
    """What clients are shown of the budgets that apply to it."""
    _changes: int = 0
    _waiting: set[asyncio.Future[None]] = field(default_factory=set)
    """Of listeners, each until the next change."""

    @property
    def searches(self) -> bool:
        """Whether it waits for passages; of one that ended, whether it ended there."""
        return self.waiting_for == RAG

    def start(self, inference: Inference) -> None:
        """Send the variant."""
        self.started = inference
        self.report()

    def add(self, piece: Piece | ToolCallPiece) -> None:
        """Add a piece."""
        self.pieces.append(piece)
        self.report()

    def end(self, inference: Inference) -> None:
        """Send the whole answer."""
        self.finished = inference
        self.report()

    def late(self) -> TidemillError:
        """Return what to say when time runs out: who did not answer, or that the answer takes longer."""
        if self.queued:
            message = "all places for answers were taken until the time was over: try again later, or allow more time"
            return QueueFull(message, retry_after_s=_BUSY_PAUSE_S)
        if self.waiting_for:
            message = f"{self.waiting_for} did not answer in time: try again later"
            return DependencyTimedOut(message, dependency=self.waiting_for, blame=self.blame)
        message = "the answer was not complete in time: allow more time, or ask for fewer tokens"
        return DeadlineExceeded(message)

    async def steps(self, *, until: float | None) -> AsyncGenerator[Step, None]:
        """Yield the answer from its beginning, whenever one comes to listen, `until` on time.monotonic().

        Raises:
            TidemillError: what the generation failed with, or what it still waits for.

        """
        sent = 0
        started = False
        while True:
            changes, finished = self._changes, self.finished
            if self.started and not started:
                started = True
                yield Started(inference=self.started, limits=self.limits)
            fresh, sent = self.pieces[sent:], len(self.pieces)
            for piece in joined(fresh):
                yield _step(piece)
            if finished:
                yield Finished(inference=finished)
                return
            if changes == self._changes:
                await self._wait(until)

    def report(self) -> None:
        """Have the listeners look for what has changed: also when the task has ended."""
        self._changes += 1
        for each in self._waiting:
            if not each.done():
                each.set_result(None)
        self._waiting.clear()

    async def _wait(self, until: float | None) -> None:
        """Return at the next change; raise when the task ended without an answer."""
        assert self.task is not None  # noqa: S101 - listeners come after the task
        if self.task.done():
            self.task.result()
            return
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                await changed
        except TimeoutError:
            self.missed = self.late()
            raise self.missed from None
        finally:
            self._waiting.discard(changed)


def _step(piece: Piece | ToolCallPiece) -> Step:
    if isinstance(piece, ToolCallPiece):
        return ToolCallDelta(**asdict(piece))
    return Delta(text=piece.text, candidate=piece.candidate, logprobs=piece.logprobs, reasoning=piece.reasoning)


class SharedGenerations:
    """The generations of this process by inference; the last listener to leave ends one.

    Where all places are taken, one waits for its turn, fairly by project and end user.
    """

    def __init__(self, *, at_most: int = 0, places: FairQueue | None = None) -> None:
        """Answer so many at once, or as `places` has it."""
        self._places = places or FairQueue("places for shadows", QueueLimits(places=at_most))
        self._running: dict[tuple[str, str], Generation] = {}

    async def listen(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        key: tuple[str, str],
        *,
        digest: str,
        request_id: str,
        until: float | None,
        work: Callable[[Generation], Coroutine[Any, Any, Inference]],
        share: Share | None = None,
    ) -> AsyncGenerator[Step, None]:
        """Join the generation of this key, or begin it with `work` once there is a place for `share`.

        Raises:
            RequestIdReused: it runs for another body.
            QueueFull: too many wait for a place, or none was free in time.

        """
        generation = self._running.get(key)
        if generation is None:
            generation = self._begin(key, digest, work, share or Share(project=key[0]))
        elif generation.digest != digest:
            raise RequestIdReused(request_id)
        generation.listeners += 1
        try:
            async for step in generation.steps(until=until):
                yield step
        finally:
            generation.listeners -= 1
            if generation.listeners == 0:
                await self._end(key, generation)

    @property
    def projects(self) -> set[str]:
        """The projects of which answers are in progress."""
        return {project for project, _ in self._running}

    async def stop(self, project: str = "") -> int:
        """End everything that still runs, or what runs of a project; return how much that was."""
        ending = [each for each in self._running.items() if project in ("", each[0][0])]
        await asyncio.gather(*(self._end(*each) for each in ending))
        return len(ending)

    def _begin(
        self,
        key: tuple[str, str],
        digest: str,
        work: Callable[[Generation], Coroutine[Any, Any, Inference]],
        share: Share,
    ) -> Generation:
        generation = Generation(digest=digest)
        self._running[key] = generation
        generation.task = begin_shared(self._placed(generation, work, share), name=f"generation {key[1]}")
        generation.task.add_done_callback(lambda _: generation.report())
        return generation

    async def _placed(
        self, generation: Generation, work: Callable[[Generation], Coroutine[Any, Any, Inference]], share: Share
    ) -> Inference:
        async with self._places.place(share) as generation.queue_s:
            generation.queued = False
            return await work(generation)

    async def _end(self, key: tuple[str, str], generation: Generation) -> None:
        """Stop the work, if it is not done, and forget it; a new listener begins anew."""
        if self._running.get(key) is generation:
            del self._running[key]
        if generation.task is not None:
            generation.task.cancel()
            # Waits also when the listener itself is being cancelled: asyncio.wait leaves the task to end by itself.
            await asyncio.wait({generation.task})
            if not generation.task.cancelled():
                generation.task.exception()
