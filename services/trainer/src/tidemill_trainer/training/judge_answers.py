"""Has the judge of a run score its generated answers, each once, within the calls that its plan allows."""

import asyncio
import hashlib
import json
from asyncio import to_thread
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tidemill_core.application import Caller
from tidemill_core.errors import (
    TRANSIENT,
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.domain.rewards import JudgeReward, judge_of
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Judged, JudgedAnswer, Judges, RunFolder

JUDGE_CALLS_SPENT, JUDGE_UNRELIABLE = "JUDGE_CALLS_SPENT", "JUDGE_UNRELIABLE"
MIN_COUNTED = 20
"""Answers of which a share without a score is of: fewer are counted as so many."""
_LONGEST_PAUSE_S = 15.0
_BEGUN = "calls"
"""What a line of the file counts that has no score: calls that were begun, or were not made after all."""
_FORGET: Mapping[str, float | None] = {}
"""A line of the file: what has no score before it may be asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingLimits:
    """What trainings may ask of judges."""

    max_calls: int = 20_000
    """Calls of models of one run; a plan may allow fewer."""
    max_concurrent: int = 4
    """Answers of one run that are judged at the same time."""
    wait_s: float = 300.0
    """How long a training is held in memory while its judge does not answer."""
    max_unscored: float = 0.1
    """Share of the answers that may have no score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAnswers:
    """Builds what judges the answers of one run."""

    judges: Judges
    limits: JudgingLimits

    async def of(self, run: TrainingRun, folder: RunFolder) -> "AnswerJudging | None":
        """Return it, with what was judged before; None for a run without a judge."""
        judge = judge_of(run.recipe.rewards)
        if judge is None or run.judge is None:
            return None
        known, begun = await to_thread(_read, folder.judged)
        return AnswerJudging(
            run=run,
            judge=judge,
            pinned=run.judge,
            judges=self.judges,
            limits=self.limits,
            file=folder.judged,
            known=known,
            begun=max(begun, run.progress.judge_calls),
        )


@dataclass(kw_only=True)
class AnswerJudging:
    """Implements `ports.Judging`.

    Each score is stored as it arrives, by a digest of the run, the version and the texts: an attempt that goes on from
    a checkpoint generates the same answers again. What was asked when a worker ended, and not answered, is asked again.
    A call is counted before it is made, so that none is made beyond the limit, whatever becomes of it.
    """

    run: TrainingRun
    judge: JudgeReward
    pinned: PinnedJudge
    judges: Judges
    limits: JudgingLimits
    file: Path
    known: dict[str, float | None]
    begun: int = 0
    """Calls of models, of all attempts."""
    refused: int = 0
    """Answers of this attempt about which evaluator asks no judge."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def counted(self) -> Judged:
        """See `Judging.counted`."""
        answers, unscored = len(self.known), sum(score is None for score in self.known.values())
        return Judged(calls=self.begun, answers=answers, unscored=unscored)

    async def scores(self, answers: Sequence[JudgedAnswer]) -> Sequence[float | None]:
        """See `Judging.scores`."""
        keys = [self._key(answer) for answer in answers]
        unknown = {key: answer for key, answer in zip(keys, answers, strict=True) if key not in self.known}
        self._refuse_more_calls(len(unknown))
        places = asyncio.Semaphore(self.limits.max_concurrent)
        try:
            async with asyncio.TaskGroup() as group:
                for key, answer in unknown.items():
                    group.create_task(self._judge(key, answer, places))
        except ExceptionGroup as failures:
            raise _first_of(failures, self.judge.id) from failures
        await self._refuse_unreliable()
        return [self.known[key] for key in keys]

    async def _judge(self, key: str, answer: JudgedAnswer, places: asyncio.Semaphore) -> None:
        async with places:  # also while it is stored: no more is lost with a worker than is asked at the same time
            score = await self._asked(answer)
            await self._store({key: score})
            self.known[key] = score

    async def _asked(self, answer: JudgedAnswer) -> float | None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TRANSIENT),
            stop=stop_after_delay(self.limits.wait_s),
            wait=wait_random_exponential(max=_LONGEST_PAUSE_S),
            reraise=True,
        )
        try:
            return await retrying(self._call, answer)
        except InvalidInput:
            self.refused += 1
            return None

    async def _call(self, answer: JudgedAnswer) -> float | None:
        """Ask once. Of a jury that did not answer, all members but one may have been asked."""
        self._refuse_more_calls(1)
        calls = self.pinned.calls_per_answer
        await self._count(calls)
        try:
            return await self.judges.score(self._caller, self.judge.id, version=self.pinned.version, answer=answer)
        except InvalidInput:
            await self._count(-calls)
            raise
        except TRANSIENT as error:
            if not isinstance(error, DependencyTimedOut):
                await self._count(-1)
            raise

    async def _count(self, calls: int) -> None:
        self.begun += calls
        await self._store({_BEGUN: calls})

    async def _store(self, line: Mapping[str, float | None]) -> None:
        async with self.writing:
            await to_thread(_append, self.file, line)

    @property
    def _caller(self) -> Caller:
        """The trainer, on behalf of who started the run, or of who wrote its plan."""
        person = self.run.requester or next(iter(self.run.authors), "")
        service = Caller.of_service(self.run.project, "trainer")
        return Caller(project=service.project, subject=person or service.subject, via=service.via)

    def _key(self, answer: JudgedAnswer) -> str:
        texts = [self.run.id, self.pinned.version, [*answer.asked], answer.answer, answer.reference]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def _refuse_more_calls(self, answers: int) -> None:
        limit = self.judge.max_calls or self.limits.max_calls
        calls = self.counted.calls + answers * self.pinned.calls_per_answer
        if answers and calls > limit:
            message = (
                f"judge {self.judge.id} would be called {calls} times; the limit is {limit}: raise max_calls of the "
                "judge in the plan (at most TRAINER_JUDGE_MAX_CALLS), or train fewer steps, and start a new run"
            )
            raise TrainingFailed(message, reason=JUDGE_CALLS_SPENT)

    async def _refuse_unreliable(self) -> None:
        counted = self.counted
        if counted.unscored > self.limits.max_unscored * max(counted.answers, MIN_COUNTED):
            await self._store(_FORGET)
            refused = (
                f" Evaluator refused {self.refused} of them, as those without a question, or with more characters than "
                "EVALUATOR_MAX_SCORED_CHARACTERS, raised there or avoided by shorter examples."
                if self.refused
                else ""
            )
            message = (
                f"judge {self.judge.id} did not judge {counted.unscored} of {counted.answers} answers; the limit is "
                f"{self.limits.max_unscored:.0%} (TRAINER_JUDGE_MAX_UNSCORED), of at least {MIN_COUNTED}: use one "
                f"whose model answers in JSON and in time, or retry the run once it does.{refused}"
            )
            raise TrainingFailed(message, reason=JUDGE_UNRELIABLE)


def _first_of(failures: ExceptionGroup[Exception], judge: str) -> Exception:
    """Return why the answers are not judged: what is unexpected first, then refusals, then what passes."""

    def order(error: Exception) -> int:
        return 2 if isinstance(error, TRANSIENT) else int(isinstance(error, TidemillError))

    first = min(failures.exceptions, key=order)
    if isinstance(first, PreconditionFailed) and not isinstance(first, TrainingFailed):
        return TrainingFailed(f"judge {judge}: {first.message}", reason=first.reason)
    if isinstance(first, RateLimited):
        return DependencyUnavailable(first.message, dependency="evaluator")
    return first


def _read(file: Path) -> tuple[dict[str, float | None], int]:
    """Return the scores in a file, and how many calls were begun; a torn line at its end is ended."""
    known: dict[str, float | None] = {}
    begun = 0
    if not file.exists():
        return known, begun
    text = file.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            stored: Mapping[str, float | None] = json.loads(line)
        except ValueError:
            continue
        if stored == _FORGET:
            known = {key: score for key, score in known.items() if score is not None}
        elif _BEGUN in stored:
            begun += int(stored[_BEGUN] or 0)
        else:
            known |= stored
    if text and not text.endswith("\n"):
        with file.open("a", encoding="utf-8") as lines:
            lines.write("\n")
    return known, begun


def _append(file: Path, stored: Mapping[str, float | None]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(stored) + "\n")
