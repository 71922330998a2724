"""Gets the answers of all variants to a case, and scores each."""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from tidemill_core.application import Caller, derived_id
from tidemill_evaluator.errors import first_of
from tidemill_evaluator.evaluations.ask_patiently import AskPatiently, Unanswered
from tidemill_evaluator.evaluations.domain.results import NOT_IN_TIME, OTHER_MODEL, TEXT_NOT_KEPT
from tidemill_evaluator.evaluations.ports import Answer, Passage, Question
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.prompt_tests.domain.cells import INPUT_TOKENS, SPENT, CaseCells, Cell
from tidemill_evaluator.prompt_tests.domain.prompt_test import PinnedGrid, PromptTest
from tidemill_evaluator.suites.domain.cases import Case

_NOBODYS = frozenset({NOT_IN_TIME, TEXT_NOT_KEPT})
"""Failures that say nothing about a variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentTurns:
    """A deployment's deadline, and the turns of the test's questions to it."""

    deadline_s: float
    turns: Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class GridAsking:
    """What is the same for all cases of a test."""

    caller: Caller
    test: PromptTest
    pinned: PinnedGrid
    turns: Mapping[str, DeploymentTurns]
    """By deployment."""

    def question(self, case: Case, number: int, passages: Sequence[Passage]) -> Question:
        """Return what a variant is asked; its request id derives from the test, so that a retry asks nothing twice.

        And from the passages it is given: a worker that resumes may find others, which makes another request.
        """
        variant = self.test.grid.variants[number]
        given = (_digest(passages),) if passages else ()
        return Question(
            request_id=derived_id("prompt test", self.test.id, str(number), case.id, *given),
            deployment=variant.deployment,
            text=case.question,
            context=case.context,
            deadline_s=self.turns[variant.deployment].deadline_s,
            variant=variant.model,
            passages=passages,
            prompt=variant.prompt,
            unsaved=variant.unsaved,
            end_user=case.end_user,
            sampling=variant.sampling,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCase:
    """The first variant of a deployment searches; its others answer on the same passages.

    A case is one unit: what a worker has asked of it when it dies is asked again, of which inference has the records.
    Its judges are asked anew then: the answers that they compare may be others.
    """

    ask: AskPatiently
    metrics: Registry

    async def __call__(self, asking: GridAsking, case: Case) -> CaseCells:
        """Return the answers to a case.

        Raises:
            NoVerdict: a judge is gone, or another version than the pinned one.
            DependencyUnavailable, RateLimited: inference, or a judge, is unavailable or overloaded.

        """
        variants = asking.test.grid.variants
        by_deployment = {
            name: [number for number, each in enumerate(variants) if each.deployment == name]
            for name in asking.test.grid.deployments
        }
        found = dict[int, tuple[Cell, Sequence[Passage]]]()

        async def one(number: int, passages: Sequence[Passage] = ()) -> Sequence[Passage]:
            found[number] = await self._cell(asking, case, number, passages)
            return found[number][1]

        async def of_deployment(numbers: Sequence[int]) -> None:
            passages = await one(numbers[0])
            await _together([one(number, passages) for number in numbers[1:]])

        await _together([of_deployment(numbers) for numbers in by_deployment.values()])
        rests_on = {each.name for _, passages in found.values() for each in passages}
        return CaseCells(
            case=case.id,
            cells=tuple(found[number][0] for number in range(len(variants))),
            rests_on=tuple(sorted({*rests_on, *case.rests_on}, key=astuple)),
            end_users=tuple(sorted({case.end_user, case.corrected_by} - {""})),
        )

    async def _cell(
        self, asking: GridAsking, case: Case, number: int, passages: Sequence[Passage]
    ) -> tuple[Cell, Sequence[Passage]]:
        question = asking.question(case, number, passages)
        turns = asking.turns[question.deployment].turns
        answer = await self.ask(asking.caller, question, turns=turns, again=str(asking.test.epoch))
        if isinstance(answer, Unanswered):
            return self._failed(asking, case, Cell(failure=answer.reason)), ()
        if answer.model != asking.pinned.models[number]:
            return self._failed(asking, case, Cell(inference=answer.inference, failure=OTHER_MODEL)), ()
        return await self._scored(asking, case, number, answer), answer.passages

    def _failed(self, asking: GridAsking, case: Case, cell: Cell) -> Cell:
        """Return a cell with the worst values of what is between 0 and 1, unless the variant is not to blame.

        Not of what others measure, as judges do: they were not asked.
        """
        if cell.failure in _NOBODYS:
            return cell
        metrics = map(self.metrics.of, self._metrics(asking, case))
        scores = {each.name: float(each.less_is_better) for each in metrics if each.bounded and not each.unreliable}
        return replace(cell, scores=scores)

    async def _scored(self, asking: GridAsking, case: Case, number: int, answer: Answer) -> Cell:
        given = GivenAnswer(
            text=answer.text,
            inference=answer.inference,
            citation_valid=answer.citation_valid,
            total_s=answer.total_s,
            max_concurrent=answer.max_concurrent,
            output_tokens=answer.output_tokens,
            cost=answer.cost,
            passages=tuple(each.text for each in answer.passages),
        )
        pair = Pair(
            case=case,
            baseline=None,
            candidate=given,
            name=derived_id(asking.test.id, str(number), case.id, str(asking.test.epoch)),
            pins=asking.pinned.pins,
        )
        names = self._metrics(asking, case)
        scores = (await self.metrics.scores(asking.caller, names, pair)).candidate
        known = {name: score for name, score in scores.items() if score is not None and math.isfinite(score)}
        missing = tuple(sorted(scores.keys() - known.keys()))
        if answer.input_tokens is not None:
            known[INPUT_TOKENS] = float(answer.input_tokens)
        for metric in map(self.metrics.of, missing):
            if metric.bounded and not metric.unreliable:  # no value never counts as success
                known[metric.name] = float(metric.less_is_better)
        return Cell(
            inference=answer.inference,
            text=answer.text,
            scores=known,
            missing=missing,
            configuration=answer.configuration,
        )

    def _metrics(self, asking: GridAsking, case: Case) -> Sequence[str]:
        return self.metrics.applying([*asking.test.grid.metrics, *SPENT], case)


def _digest(passages: Sequence[Passage]) -> str:
    return hashlib.sha256(repr([astuple(each) for each in passages]).encode()).hexdigest()


async def _together(work: Sequence) -> None:  # type: ignore[type-arg] # coroutines of any result
    """Wait for all, with the most important error where some fail."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as failures:
        raise first_of(failures) from failures
