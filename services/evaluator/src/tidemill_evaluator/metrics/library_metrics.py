"""Metrics that libraries compute, in bounded processes: what a text makes of them is the project's."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import structlog

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import (
    BLEU,
    CHRF,
    JSON_SCHEMA,
    GivenAnswer,
    Metric,
    Need,
    Pair,
    PairScores,
    Scores,
)
from tidemill_evaluator.metrics.library_scores import library_scores
from tidemill_evaluator.suites.domain.cases import Case, schema_text
from tidemill_evaluator.suites.ports import Processes
from tidemill_kit.workers.bounded_processes import WorkEndedError

_REFERENCE = frozenset({Need.REFERENCE})
_METRICS: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric(name=BLEU, source="BLEU of a sentence, smoothed exponentially (sacrebleu)", needs=_REFERENCE),
        Metric(name=CHRF, source="chrF2 (sacrebleu)", needs=_REFERENCE),
        Metric(
            name=JSON_SCHEMA,
            source="1 for JSON that the case's schema allows (jsonschema)",
            needs=frozenset({Need.SCHEMA}),
            by_case=True,
        ),
    )
}
_ATTEMPTS = 3
"""Of work that the machine ended."""
_log = structlog.get_logger(__name__)


class LibraryMetrics:
    """Implements `ports.MetricFamily`. A text that takes more than a process may has no value.

    A case's schema is followed apart, so that a slow one takes no other score with it.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return list(_METRICS)

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        return _METRICS.get(name)

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`; every project can use them."""

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`; they are the same for the whole evaluation."""
        del caller, names, answering, gating
        return {}

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`."""
        baseline, candidate = await asyncio.gather(
            *(self._side(caller.project, names, pair.case, each) for each in (pair.baseline, pair.candidate))
        )
        return PairScores(baseline=baseline, candidate=candidate)

    async def _side(self, project: str, names: Collection[str], case: Case, answered: GivenAnswer | None) -> Scores:
        if answered is None:
            return {}
        apart = [name for name in names if name == JSON_SCHEMA], [name for name in names if name != JSON_SCHEMA]
        found = await asyncio.gather(*(self._of(project, some, case, answered) for some in apart if some))
        return {name: score for scores in found for name, score in scores.items()}

    async def _of(self, project: str, names: Sequence[str], case: Case, answered: GivenAnswer) -> Scores:
        schema = schema_text(case)
        for _ in range(_ATTEMPTS):
            try:
                return await self._processes.run(
                    project, library_scores, list(names), case.reference, schema, answered.text
                )
            except WorkEndedError as ended:
                _log.warning("scores_not_computed", cause=ended.cause, metrics=sorted(names))
                if ended.cause not in {"wall", "died"}:
                    break
        return dict.fromkeys(names)
