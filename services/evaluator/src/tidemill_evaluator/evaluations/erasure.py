"""Ends the evaluations of an erased project, and those that ask what is erased, also those of other projects."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from tidemill_core.application import Aggregates, Clock, Request
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_core.resources import list_all, owner_of
from tidemill_evaluator.errors import EvaluationFinished, EvaluationNotFound
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import UNFINISHED, EvaluationJob
from tidemill_evaluator.evaluations.ports import Evaluations
from tidemill_evaluator.suites.ports import Cases
from tidemill_kit.erasure.steps import Target
from tidemill_kit.store.mongo import Collection, Document, translated

J = TypeVar("J", bound=EvaluationJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelEvaluations(Generic[J]):
    """Cancels the evaluations of a project."""

    evaluations: Aggregates[J]
    clock: Clock

    async def __call__(self, project: str) -> None:
        """Cancel those that are not finished."""
        found, now = await _unfinished(self.evaluations, project), self.clock.now()
        await _end_all(self.evaluations, found, lambda each: each.cancel(now))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvaluationsOfUser:
    """Fails the evaluations under way that ask an end user's questions: what they read of them is in memory.

    They store nothing of a case any more. Those of other projects ask them too, where a dataset is shared.
    """

    evaluations: Evaluations
    collection: Collection
    cases: Cases
    clock: Clock

    async def __call__(self, target: Target) -> int:
        """Return how many were failed."""
        found = await _unfinished(self.evaluations, target.project)
        found += await _of_shared(self.evaluations, self.collection, target.project)
        asking = [each for each in found if await self._asks(each, target)]
        now = self.clock.now()
        return await _end_all(self.evaluations, asking, lambda each: each.withdraw(now))

    async def _asks(self, evaluation: Evaluation, target: Target) -> bool:
        """Return whether its cases have one of the user's, or are gone by now."""
        for case_set in evaluation.case_sets:
            if owner_of(case_set.dataset, evaluation.project) != target.project:
                continue
            try:
                cases = await self.cases.read(evaluation.project, case_set)
            except NotFound:
                return True
            except (InvalidInput, PermissionDenied):
                continue  # it cannot ask them either
            if any(case.is_of(target.subject) for case in cases):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvaluationsOfShared:
    """Fails the evaluations under way of other projects that ask the cases of a project's shared datasets."""

    evaluations: Evaluations
    collection: Collection
    clock: Clock

    async def __call__(self, target: Target) -> int:
        """Return how many were failed."""
        found, now = await _of_shared(self.evaluations, self.collection, target.project), self.clock.now()
        return await _end_all(self.evaluations, found, lambda each: each.withdraw(now))


async def _end_all(evaluations: Aggregates[J], found: Sequence[J], end: Callable[[J], None]) -> int:
    """End these evaluations; return how many were not finished yet."""
    ended = 0
    for each in found:
        with suppress(EvaluationNotFound, EvaluationFinished):
            await evaluations.update(each.project, each.id, end, request=Request.internal())
            ended += 1
    return ended


async def _of_shared(evaluations: Evaluations, collection: Collection, project: str) -> list[Evaluation]:
    """Return the evaluations of other projects that are not finished and ask cases of this project's datasets."""
    asking = {
        "state.state": {"$in": sorted(each.value for each in UNFINISHED)},
        "state.case_sets.dataset": {"$regex": f"^{re.escape(project)}/"},
    }
    with translated():
        found = await collection.find(asking, {"project": True, "id": True}).to_list(None)
    read = [await evaluations.get_many(each["project"], [each["id"]]) for each in found]
    return [evaluation for some in read for evaluation in some.values()]


async def _unfinished(evaluations: Aggregates[J], project: str) -> list[J]:
    """Return the evaluations of a project that are not finished."""
    found = list[J]()
    for state in sorted(UNFINISHED, key=lambda each: each.value):
        found += [each async for each in list_all(evaluations, project, where={"state": state.value})]
    return found


def results_of_user(target: Target) -> Document:
    """Return what finds the case results of an end user, also those of projects that its project shares datasets with.

    Of those that an earlier version stored it is not known whose they are: they count as anyone's.
    """
    roles = [{"of_project": target.project, role: target.subject} for role in ("end_user", "corrected_by")]
    return {"$or": [*roles, {"project": target.project, "of_project": None}]}


def results_of_shared(target: Target) -> Document:
    """Return what finds the case results that other projects have of datasets that a project shared with them."""
    return {"of_project": target.project}


def results_with_passages(target: Target) -> Document:
    """Return what finds the case results, also of other projects, that have passages of a project's collections."""
    return {"passages_of": target.project}


def results_with_document(target: Target) -> Document:
    """Return what finds the case results that have passages of a document, because one side has not answered yet.

    A document's id is derived from its project's: those of other projects have it of a shared collection.
    """
    return {"passages.document": target.subject}
