"""Retrieval evaluations on a terminal: followed until they end, and their figures as a table."""

import json
from typing import Any

from rich.console import Group, RenderableType

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation, RetrievalMeasure
from tidemill_cli.output import card, moment, plain, progress, table, word
from tidemill_client.connection import Connection
from tidemill_client.retrieval_evaluations import LIVE, RetrievalEvaluations, Side


async def followed(
    connection: Connection,
    collection: str,
    suite: str,
    *,
    baseline: Side = LIVE,
    candidate: Side | None,
    depth: int,
    max_cases: int = 0,
) -> RetrievalEvaluation:
    """Start an evaluation, show its progress, and return it once it has ended."""
    evaluations = RetrievalEvaluations(connection)
    started = await evaluations.start(
        collection, suite, baseline=baseline, candidate=candidate, depth=depth, max_cases=max_cases
    )
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)

        def advance(found: RetrievalEvaluation) -> None:
            state = word(EvaluationState, found.state)
            bar.update(task, description=f"{state}, questions", completed=found.answered, total=found.cases or None)

        return await evaluations.wait(started.id, watch=advance)


def picture(evaluation: RetrievalEvaluation) -> RenderableType:
    """Return an evaluation for people."""
    paired = evaluation.HasField("candidate")
    facts = {
        "evaluation": evaluation.id,
        "state": word(EvaluationState, evaluation.state),
        "why": " ".join(part for part in (evaluation.reason, evaluation.message) if part),
        "questions of": f"{evaluation.suite}@{evaluation.suite_version}",
        "collection": evaluation.collection,
        "now": _side(evaluation.baseline),
        "candidate": _side(evaluation.candidate) if paired else "",
        "not counted": _not_counted(evaluation),
        "ended": moment(evaluation.finish_time),
    }
    heads = ("metric", "n", "now", "candidate", "difference", f"{evaluation.confidence:.0%} interval")
    rows = [_row(each, evaluation.depth, paired=paired) for each in evaluation.measures]
    columns = heads if paired else (*heads[:3], heads[-1])
    figures: list[RenderableType] = ["", table(columns, rows)] if rows else []
    return Group(card({key: value for key, value in facts.items() if value}), *figures)


def _row(measure: RetrievalMeasure, depth: int, *, paired: bool) -> tuple[object, ...]:
    name = measure.metric if measure.metric == "latency_ms" else f"{measure.metric}@{depth}"
    if not paired:
        interval = f"[{measure.low:.3f}, {measure.high:.3f}]"
        return name, measure.questions, f"{measure.baseline:.3f}", interval
    interval = f"[{measure.low:+.3f}, {measure.high:+.3f}]"
    sides = f"{measure.baseline:.3f}", f"{measure.candidate:.3f}", f"{measure.difference:+.3f}"
    return (name, measure.questions, *sides, interval)


def _side(side: Any) -> str:  # noqa: ANN401 - a RetrievalSide, whose Struct has no type of its own
    settings = plain(side).get("settings") or {}
    return f"index {side.index or 'live'}, {json.dumps(settings)}" if settings else f"index {side.index or 'live'}"


def _not_counted(evaluation: RetrievalEvaluation) -> str:
    counts = {
        "without judgements": evaluation.unjudged,
        "whose documents are gone": evaluation.gone,
        "that failed": evaluation.failures,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
