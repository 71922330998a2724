"""The demo's retrieval, tuned on judged questions, beside plain vectors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation, RetrievalMeasure
from tidemill_cli.output import progress, stdout, table
from tidemill_cli.retrieval_figures import followed
from tidemill_cli.tuning import Settings, TuneOptions, tune
from tidemill_client.connection import Connection
from tidemill_client.declared import Collections
from tidemill_client.judged_questions import JudgedQuestion, JudgedSuites, lowest
from tidemill_client.retrieval_evaluations import Side
from tidemill_core.errors import Internal
from tidemill_helpdesk.example import CorpusDocument
from tidemill_helpdesk.helpdesk import COLLECTION
from tidemill_helpdesk.report import Report

SECTION = "tuned_retrieval"
SUITE = "handbook_questions"
TUNED = TuneOptions(trials=5, held_out=0.4)
PLAIN: Settings = {"dense_weight": 1.0, "sparse_weight": 0.0, "diversity": 0.0}
"""One ranking by vectors alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedRetrieval:
    """As `tidemill suites import`, `tidemill collections tune` and `tidemill collections evaluate` do."""

    connection: Connection
    report: Report
    asked: Sequence[CorpusDocument]
    """Documents, each with the question that it answers."""
    ids: Mapping[str, str]
    """The id of each document by its key."""

    async def __call__(self) -> None:
        """Tune the collection on some of the questions, and compare it with plain vectors on the others."""
        questions = [
            JudgedQuestion(id=each.title, text=each.question, grades={self.ids[each.key]: 1}) for each in self.asked
        ]
        await JudgedSuites(self.connection).keep(SUITE, questions)
        held_out = round(len(questions) * TUNED.held_out)
        best = await self._best(questions, held_out)
        await self.compare(best, questions=held_out)

    async def compare(self, best: Settings, *, questions: int) -> None:
        """Compare settings with plain vectors on the held-out questions: by the first ten documents, and by the first.

        Raises:
            Internal: it came to no figures, and why.

        """
        evaluation = await self._compared(best, depth=TUNED.depth, questions=questions)
        self._show(evaluation, best, first=await self._compared(best, depth=1, questions=questions))

    async def _compared(self, best: Settings, *, depth: int, questions: int) -> RetrievalEvaluation:
        evaluation = await followed(
            self.connection,
            COLLECTION,
            SUITE,
            baseline=Side(settings=best | PLAIN),
            candidate=Side(settings=best),
            depth=depth,
            max_cases=questions,
        )
        if evaluation.state != EvaluationState.EVALUATION_STATE_COMPLETED:
            message = f"the comparison came to no figures: {evaluation.reason} {evaluation.message}"
            raise Internal(message)
        return evaluation

    async def _best(self, questions: Sequence[JudgedQuestion], held_out: int) -> Settings:
        collection = await Collections(self.connection).get(COLLECTION)
        kept = {each.id for each in lowest(questions, held_out)}
        seen = [each for each in questions if each.id not in kept]
        with progress() as bar:
            task = bar.add_task("trying settings on questions", total=TUNED.trials * len(seen))
            tuning = await tune(
                self.connection,
                collection,
                seen,
                options=TUNED,
                watch=lambda _tuning, asked: bar.update(task, completed=asked),
            )
        return tuning.best.settings

    def _show(self, evaluation: RetrievalEvaluation, best: Settings, *, first: RetrievalEvaluation) -> None:
        hits = [each for each in first.measures if each.metric == "hit"]
        rows = [_row(each, first.depth) for each in hits]
        rows += [_row(each, evaluation.depth) for each in evaluation.measures]
        plain, tuned = (each.p50 for each in (evaluation.baseline_latency, evaluation.candidate_latency))
        medians = [each.ToTimedelta().total_seconds() * 1000 for each in (plain, tuned)]
        rows.append(("median latency, ms", f"{medians[0]:.1f}", f"{medians[1]:.1f}", "-"))
        title = f"{evaluation.cases} held-out questions, tuned to {json.dumps(best)}"
        stdout.print(table(("metric", "plain vectors", "tuned", "95% interval of the difference"), rows, title=title))
        named = [("hit_at_1", each) for each in hits] + [(each.metric, each) for each in evaluation.measures]
        for name, each in named:
            self.report.add(SECTION, **{f"plain_{name}": each.baseline, name: each.candidate})
            self.report.add(SECTION, **{f"{name}_interval": [each.low, each.high]})
        self.report.add(SECTION, plain_latency_median_ms=medians[0], latency_median_ms=medians[1])
        self.report.add(SECTION, questions=evaluation.cases, settings=json.dumps(best))


def _row(measure: RetrievalMeasure, depth: int) -> tuple[str, str, str, str]:
    name = "mean latency, ms" if measure.metric == "latency_ms" else f"{measure.metric}@{depth}"
    interval = f"[{measure.low:+.3f}, {measure.high:+.3f}]"
    return name, f"{measure.baseline:.3f}", f"{measure.candidate:.3f}", interval
