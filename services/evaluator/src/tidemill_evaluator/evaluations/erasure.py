"""Erases evaluations: all of a project, and those that ask the questions of an end user."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import EvaluationFinished, EvaluationNotFound
from tidemill_evaluator.evaluations.domain.evaluation import UNFINISHED, Evaluation
from tidemill_evaluator.evaluations.ports import Evaluations
from tidemill_evaluator.suites.ports import Cases
from tidemill_kit.erasure.documents import erase_documents, ids_of
from tidemill_kit.erasure.steps import NotYet, Target
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseEvaluations:
    """Cancels the evaluations of a project, waits for their workers, and removes them."""

    evaluations: Evaluations
    collection: Collection
    leases: Leases
    clock: Clock

    async def __call__(self, target: Target) -> int:
        """Return how many were removed.

        Raises:
            NotYet: a worker has one of them.

        """
        for evaluation in await _unfinished(self.evaluations, target.project):
            await self._cancel(evaluation)
        if await self.leases.busy(target.project):
            message = "evaluations of the project are ending"
            raise NotYet(message)
        return await erase_documents(self.collection, ids_of(target.project))

    async def _cancel(self, evaluation: Evaluation) -> None:
        now = self.clock.now()
        with suppress(EvaluationNotFound, EvaluationFinished):
            await self.evaluations.update(
                evaluation.project, evaluation.id, lambda e: e.cancel(now), request=Request.internal()
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvaluationsOfUser:
    """Fails the evaluations under way that ask an end user's questions: what they read of them is in memory."""

    evaluations: Evaluations
    cases: Cases
    clock: Clock

    async def __call__(self, target: Target) -> int:
        """Return how many were failed."""
        ended = 0
        for evaluation in await _unfinished(self.evaluations, target.project):
            if await self._asks(evaluation, target.subject):
                with suppress(EvaluationNotFound, EvaluationFinished):
                    await self._end(evaluation)
                    ended += 1
        return ended

    async def _end(self, evaluation: Evaluation) -> None:
        now = self.clock.now()
        await self.evaluations.update(
            evaluation.project, evaluation.id, lambda e: e.withdraw(now), request=Request.internal()
        )

    async def _asks(self, evaluation: Evaluation, end_user: str) -> bool:
        """Return whether its held-out cases have one of the user's, or are gone by now."""
        for case_set in evaluation.case_sets:
            if not case_set.dataset:
                continue
            try:
                cases = await self.cases.read(evaluation.project, case_set)
            except NotFound:
                return True
            except (InvalidInput, PermissionDenied):
                continue  # it cannot ask them either
            if any(case.is_of(end_user) for case in cases):
                return True
        return False


async def _unfinished(evaluations: Evaluations, project: str) -> list[Evaluation]:
    """Return the evaluations of a project that are not finished."""
    found = list[Evaluation]()
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


def results_with_document(target: Target) -> Document:
    """Return what finds the case results that have passages of a document, because one side has not answered yet."""
    return {"project": target.project, "passages.document": target.subject}
