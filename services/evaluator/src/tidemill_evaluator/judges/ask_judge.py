"""Asks a judge: one answer by points, or two answers in both orders."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from tidemill_core.application import Caller, derived_id
from tidemill_core.errors import (
    Blame,
    Conflict,
    DeadlineExceeded,
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RateLimited,
    TidemillError,
)
from tidemill_evaluator.errors import JUDGE_CHANGED, JUDGE_UNAVAILABLE, NoVerdict, first_of
from tidemill_evaluator.judges.domain.form import (
    Form,
    Material,
    pairwise_form,
    points_in,
    pointwise_form,
    preference_in,
)
from tidemill_evaluator.judges.ports import JudgeAnswer, JudgeModels, PinnedJudge
from tidemill_kit.workers.fair_share import Turns

T = TypeVar("T")

_FORMS = 2
"""How often an answer that cannot be read is asked for."""
_OF_ALL = frozenset({Blame.SHARED, Blame.CAPACITY})
"""Failures that say nothing about the judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """How much better the first of two answers is: 1, 0.5 or 0."""

    score: float
    consistent: bool = True
    """Whether both orders say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskJudge:
    """A judge that answers nonsense twice, or not in time, has not judged: None.

    What is unavailable or overloaded for all is raised, so that its caller waits and goes on later. The members of a
    jury are asked at the same time.
    """

    models: JudgeModels
    attempts: int
    pause_s: float
    turns: Turns
    """Judgements in flight in this process: no project takes all places."""
    waits_for_models: bool = False
    """Whether a judge's own model that is down is raised, too: what cannot go on without this one score."""

    async def points(self, caller: Caller, pinned: PinnedJudge, material: Material, *, name: str) -> float | None:
        """Return the score of an answer, 0 to 1. Ids of requests derive from `name`.

        Raises:
            NoVerdict: the judge's deployment is gone, or is another one by now.
            DependencyUnavailable, RateLimited: inference is unavailable or overloaded.

        """
        if pinned.members:
            asked = [
                self.points(caller, each, material, name=derived_id(name, each.judge.id)) for each in pinned.members
            ]
            return _median(await _at_once(asked))
        form, criteria = pointwise_form(pinned.judge, material), pinned.judge.asked
        return await self._read(caller, pinned, form, lambda text: points_in(text, criteria), name=name)

    async def preference(
        self, caller: Caller, pinned: PinnedJudge, material: Material, other: Material, *, name: str
    ) -> Preference | None:
        """Return how much better the first answer is than the other one, which are asked about in both orders.

        Raises:
            NoVerdict, DependencyUnavailable, RateLimited: as `points`.

        """
        if material.answer == other.answer:
            return Preference(score=0.5)
        if pinned.members:
            asked = [
                self.preference(caller, each, material, other, name=derived_id(name, each.judge.id))
                for each in pinned.members
            ]
            found = await _at_once(asked)
            score = _median([each.score if each else None for each in found])
            consistent = all(each.consistent for each in found if each)
            return None if score is None else Preference(score=score, consistent=consistent)
        forms = (
            pairwise_form(pinned.judge, first=material, second=other),
            pairwise_form(pinned.judge, first=other, second=material),
        )
        one, two = [
            await self._read(caller, pinned, form, preference_in, name=derived_id(name, order))
            for form, order in zip(forms, ("as given", "swapped"), strict=True)
        ]
        if one is None or two is None:
            return None
        consistent = one == 1 - two
        return Preference(score=one if consistent else 0.5, consistent=consistent)

    async def _read(
        self, caller: Caller, pinned: PinnedJudge, form: Form, read: Callable[[str], float | None], *, name: str
    ) -> float | None:
        for number in range(_FORMS):
            answer = await self._answer(caller, pinned, form.again if number else form, name=f"{name}/{number}")
            if answer is None or answer.model != pinned.deployment.model:
                return None
            if (found := read(answer.text)) is not None:
                return found
        return None

    async def _answer(self, caller: Caller, pinned: PinnedJudge, form: Form, *, name: str) -> JudgeAnswer | None:
        """Return what the judge said; of an answer that is only recorded, whose text is not, it is asked again."""
        answer = await self._patiently(caller, pinned, form, request_id=derived_id("judgement", name))
        if answer is not None and not answer.whole:
            answer = await self._patiently(caller, pinned, form, request_id=derived_id("judgement", name, "again"))
        if answer is not None and answer.configuration != pinned.deployment.configuration:
            message = f"the configuration of {pinned.judge.deployment}, which judges, changed since {pinned.version}"
            raise NoVerdict(JUDGE_CHANGED, message)
        return answer

    async def _patiently(
        self, caller: Caller, pinned: PinnedJudge, form: Form, *, request_id: str
    ) -> JudgeAnswer | None:
        deployment, deadline_s = pinned.judge.deployment, pinned.deployment.deadline_s
        for attempt in range(1, self.attempts + 1):
            waits_s = self.pause_s * 2 ** (attempt - 1)
            try:
                async with self.turns.of(caller.project):
                    return await self.models.ask(caller, deployment, form, request_id=request_id, deadline_s=deadline_s)
            except DeadlineExceeded:
                pass
            except (DependencyUnavailable, RateLimited, Conflict) as error:
                if isinstance(error, RateLimited):
                    waits_s = max(waits_s, error.retry_after_s)
                if attempt == self.attempts or waits_s > deadline_s:
                    if self._passes(error):
                        raise
                    return None
            except TidemillError as error:
                if why := _of_all_cases(error):
                    message = f"deployment {deployment} of judge {pinned.judge.id} {why}: {error.message}"
                    raise NoVerdict(JUDGE_UNAVAILABLE, message) from error
                return None
            if attempt < self.attempts:
                await asyncio.sleep(waits_s)
        return None

    def _passes(self, error: TidemillError) -> bool:
        """Return whether its caller is to wait, as this case is not judged for what says nothing about the judge."""
        down = isinstance(error, DependencyUnavailable) and not isinstance(error, DependencyTimedOut)
        return error.blame in _OF_ALL or isinstance(error, RateLimited) or (self.waits_for_models and down)


async def _at_once(asked: Sequence[Coroutine[object, object, T]]) -> Sequence[T]:
    """Return what all say; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(each) for each in asked]
    except ExceptionGroup as failures:
        raise first_of(failures) from failures
    return [each.result() for each in working]


def _of_all_cases(error: TidemillError) -> str:
    """Return why a deployment judges no case, in words; "" where others may be judged, as of one that is too long."""
    if isinstance(error, NotFound):
        return "does not exist"
    rejected = isinstance(error, InvalidInput) and not all(v.field.startswith("messages") for v in error.violations)
    return "refuses to judge" if rejected or isinstance(error, PermissionDenied) else ""


def _median(scores: Sequence[float | None]) -> float | None:
    """Return the median of a jury's scores; None where no more than half of its members have judged."""
    given = [score for score in scores if score is not None]
    return median(given) if 2 * len(given) > len(scores) else None
