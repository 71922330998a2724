"""Metrics that libraries compute, in bounded processes: what a text makes of them is the project's."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import structlog

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import (
    BLEU,
    CHRF,
    JSON_SCHEMA,
    METEOR,
    GivenAnswer,
    Metric,
    Need,
    Pair,
    PairScores,
    Scores,
)
from tidemill_evaluator.metrics.fixed import FixedMetrics
from tidemill_evaluator.metrics.library_scores import ComparedWith, library_scores
from tidemill_evaluator.suites.domain.cases import Case, schema_text
from tidemill_evaluator.suites.ports import Processes
from tidemill_kit.workers.bounded_processes import WorkEndedError

_REFERENCE = frozenset({Need.REFERENCE})
_METRICS: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric(name=BLEU, source="BLEU of a sentence, smoothed exponentially (sacrebleu)", needs=_REFERENCE),
        Metric(name=CHRF, source="chrF2 (sacrebleu)", needs=_REFERENCE),
        Metric(name=METEOR, source="METEOR without synonyms (nltk)", needs=_REFERENCE),
        Metric(
            name=JSON_SCHEMA,
            source="1 for JSON that the case's schema allows (jsonschema)",
            needs=frozenset({Need.SCHEMA}),
            by_case=True,
        ),
    )
}
_LANGUAGE = "language"
"""The label of cases that says which stems their words have."""
_ATTEMPTS = 3
"""Of work that the machine ended."""
_log = structlog.get_logger(__name__)


class LibraryMetrics(FixedMetrics):
    """Implements `ports.MetricFamily`. A text that takes more than a process may has no value.

    A case's schema is followed apart, so that a slow one takes no other score with it.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__(_METRICS)
        self._processes = processes

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
        compared = ComparedWith(
            reference=case.reference, schema=schema_text(case), language=case.labels.get(_LANGUAGE, "")
        )
        for _ in range(_ATTEMPTS):
            try:
                return await self._processes.run(project, library_scores, list(names), compared, answered.text)
            except WorkEndedError as ended:
                _log.warning("scores_not_computed", cause=ended.cause, metrics=sorted(names))
                if ended.cause not in {"wall", "died"}:
                    break
        return dict.fromkeys(names)
