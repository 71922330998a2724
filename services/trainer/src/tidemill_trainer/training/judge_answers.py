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
        known, forgotten = await to_thread(_read, folder.judged)
        return AnswerJudging(
            run=run,
            judge=judge,
            pinned=run.judge,
            judges=self.judges,
            limits=self.limits,
            file=folder.judged,
            known=known,
            forgotten=forgotten,
        )


@dataclass(kw_only=True)
class AnswerJudging:
    """Implements `ports.Judging`.

    Each score is stored as it arrives, by a digest of the run, the version and the texts: an attempt that goes on from
    a checkpoint generates the same answers again. What was asked when a worker ended, and not answered, is asked again.
    """

    run: TrainingRun
    judge: JudgeReward
    pinned: PinnedJudge
    judges: Judges
    limits: JudgingLimits
    file: Path
    known: dict[str, float | None]
    forgotten: int = 0
    """Answers without a score, before a failure because of them: they are asked about again, and count as calls."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def counted(self) -> Judged:
        """See `Judging.counted`."""
        answers, unscored = len(self.known), sum(score is None for score in self.known.values())
        calls = (answers + self.forgotten) * self.pinned.calls_per_answer
        return Judged(calls=calls, answers=answers, unscored=unscored)

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
            async with self.writing:
                await to_thread(_append, self.file, {key: score})
            self.known[key] = score

    async def _asked(self, answer: JudgedAnswer) -> float | None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TRANSIENT),
            stop=stop_after_delay(self.limits.wait_s),
            wait=wait_random_exponential(max=_LONGEST_PAUSE_S),
            reraise=True,
        )
        version = self.pinned.version
        try:
            return await retrying(self.judges.score, self._caller, self.judge.id, version=version, answer=answer)
        except InvalidInput:
            return None  # it is too long for a judge

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
            await to_thread(_append, self.file, _FORGET)
            message = (
                f"judge {self.judge.id} did not judge {counted.unscored} of {counted.answers} answers; the limit is "
                f"{self.limits.max_unscored:.0%} (TRAINER_JUDGE_MAX_UNSCORED), of at least {MIN_COUNTED}: use one "
                "whose model answers in JSON and in time, or retry the run once it does"
            )
            raise TrainingFailed(message, reason=JUDGE_UNRELIABLE)


def _first_of(failures: ExceptionGroup[Exception], judge: str) -> Exception:
    """Return why the answers are not judged: what is unexpected first, then refusals, then what passes."""

    def order(error: Exception) -> int:
        return 2 if isinstance(error, TRANSIENT) else int(isinstance(error, TidemillError))

    first = min(failures.exceptions, key=order)
    if isinstance(first, PreconditionFailed):
        return TrainingFailed(f"judge {judge}: {first.message}", reason=first.reason)
    if isinstance(first, RateLimited):
        return DependencyUnavailable(first.message, dependency="evaluator")
    return first


def _read(file: Path) -> tuple[dict[str, float | None], int]:
    """Return the scores in a file, and how many answers without one are forgotten; a torn line at its end is ended."""
    known: dict[str, float | None] = {}
    forgotten = 0
    if not file.exists():
        return known, forgotten
    text = file.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            stored: Mapping[str, float | None] = json.loads(line)
        except ValueError:
            continue
        if stored == _FORGET:
            unscored = [key for key, score in known.items() if score is None]
            for key in unscored:
                del known[key]
            forgotten += len(unscored)
        known |= stored
    if text and not text.endswith("\n"):
        with file.open("a", encoding="utf-8") as lines:
            lines.write("\n")
    return known, forgotten


def _append(file: Path, stored: Mapping[str, float | None]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(stored) + "\n")
