"""Removes the case results of old evaluations, where the project has set a retention; verdicts stay."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from tidemill_core.application import Aggregates, Clock, Request
from tidemill_core.errors import NotFound
from tidemill_evaluator.evaluations.domain.job import EvaluationJob
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.store.mongo import Collection, translated

J = TypeVar("J", bound=EvaluationJob)

SWEEP_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetResults(Generic[J]):
    """`ages` are the projects with a retention; nothing is removed of a project that `spares` names."""

    evaluations: Aggregates[J]
    results: Collection
    ages: Callable[[], Mapping[str, timedelta]]
    spares: Callable[[str], bool]
    clock: Clock
    texts: Callable[[J], None] | None = None
    """Has an evaluation forget the texts that are stored in itself; they go before its results do."""

    async def __call__(self) -> int:
        """Return how many case results were removed."""
        removed = 0
        for project, age in self.ages().items():
            if self.spares(project):
                continue
            for evaluation in await self._old(project, self.clock.now() - age):
                removed += await self._forget(project, evaluation)
        return removed

    async def _old(self, project: str, before: datetime) -> list[str]:
        """Return the evaluations that have results, and ended before then."""
        with translated():
            names = await self.results.distinct("evaluation", {"project": project})
        known = await self.evaluations.get_many(project, names)
        return [name for name, each in known.items() if each.finish_time and each.finish_time < before]

    async def _forget(self, project: str, evaluation: str) -> int:
        if self.texts:
            with suppress(NotFound):
                await self.evaluations.update(project, evaluation, self.texts, request=Request.internal())
        removed, some = 0, 1
        while some and not self.spares(project):
            some = await erase_documents(self.results, {"project": project, "evaluation": evaluation})
            removed += some
        return removed
