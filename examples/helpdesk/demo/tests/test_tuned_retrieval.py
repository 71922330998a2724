"""The demo's tuned retrieval beside plain vectors: the table, and the figures of the report."""

from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration

from tidemill.evaluator.v1 import retrieval_evaluation_service_pb2 as rpc
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED, EVALUATION_STATE_FAILED
from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation, RetrievalLatency, RetrievalMeasure
from tidemill_core.errors import Internal
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.tuned_retrieval import PLAIN, TunedRetrieval

BEST = {"dense_weight": 1.0, "sparse_weight": 0.7, "diversity": 0.0}


def latency(milliseconds: float) -> RetrievalLatency:
    p50 = Duration()
    p50.FromTimedelta(timedelta(milliseconds=milliseconds))
    return RetrievalLatency(p50=p50)


@dataclass
class Evaluator:
    """Compares at once: of the first document alone, the sides differ more."""

    state: Any = EVALUATION_STATE_COMPLETED
    asked: list[rpc.StartRetrievalEvaluationRequest] = field(default_factory=list)

    async def start(self, request: rpc.StartRetrievalEvaluationRequest) -> rpc.StartRetrievalEvaluationResponse:
        self.asked.append(request)
        return rpc.StartRetrievalEvaluationResponse(evaluation=RetrievalEvaluation(id=str(request.depth)))

    async def get(self, request: rpc.GetRetrievalEvaluationRequest) -> rpc.GetRetrievalEvaluationResponse:
        depth = int(request.id)
        plain, low = (0.75, 0.05) if depth == 1 else (1.0, -0.05)
        measures = [
            RetrievalMeasure(metric="ndcg", baseline=0.75 if depth == 1 else 0.9, candidate=0.95, low=0.01, high=0.09),
            RetrievalMeasure(metric="hit", baseline=plain, candidate=1.0, low=low, high=0.2),
            RetrievalMeasure(metric="latency_ms", baseline=29.0, candidate=32.0, low=1.0, high=5.0),
        ]
        evaluation = RetrievalEvaluation(
            state=self.state, depth=depth, cases=80, measures=measures, reason="NO_CASES", message="there is none"
        )
        evaluation.baseline_latency.CopyFrom(latency(27.5))
        evaluation.candidate_latency.CopyFrom(latency(30.25))
        return rpc.GetRetrievalEvaluationResponse(evaluation=evaluation)


def tuned(evaluator: Evaluator) -> TunedRetrieval:
    stub = SimpleNamespace(StartRetrievalEvaluation=evaluator.start, GetRetrievalEvaluation=evaluator.get)
    connection = cast("Any", SimpleNamespace(retrieval_evaluations=stub))
    return TunedRetrieval(connection=connection, report=Report("demo"), asked=[], ids={})


async def test_the_first_place_the_ranking_and_the_latency_are_compared_with_plain_vectors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluator = Evaluator()
    retrieval = tuned(evaluator)

    await retrieval.compare(BEST, questions=80)

    assert [(each.depth, each.max_cases) for each in evaluator.asked] == [(10, 80), (1, 80)]
    for each in evaluator.asked:
        assert dict(each.baseline.settings) == BEST | PLAIN
        assert dict(each.candidate.settings) == BEST
    figures = retrieval.report.figures["tuned_retrieval"]
    assert [figures[name] for name in ("plain_hit_at_1", "hit_at_1", "hit_at_1_interval")] == [0.75, 1.0, [0.05, 0.2]]
    assert [figures[name] for name in ("plain_ndcg", "ndcg", "plain_hit", "hit")] == [0.9, 0.95, 1.0, 1.0]
    assert [figures[name] for name in ("plain_latency_median_ms", "latency_median_ms")] == [27.5, 30.25]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hit@1", "0.750", "1.000", "[+0.050,", "+0.200]"] in rows
    assert ["ndcg@10", "0.900", "0.950", "[+0.010,", "+0.090]"] in rows
    assert ["median", "latency,", "ms", "27.5", "30.2", "-"] in rows


async def test_a_comparison_that_came_to_no_figures_is_an_error_that_says_why() -> None:
    with pytest.raises(Internal, match="NO_CASES there is none"):
        await tuned(Evaluator(EVALUATION_STATE_FAILED)).compare(BEST, questions=80)
