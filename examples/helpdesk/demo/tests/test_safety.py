"""What the demo shows beside the gain: abilities and safety, before and after."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from ruamel.yaml import YAML

from tidemill.evaluator.v1 import evaluation_service_pb2 as rpc
from tidemill.evaluator.v1.evaluation_pb2 import (
    EVALUATION_STATE_COMPLETED,
    EVALUATION_STATE_FAILED,
    Comparison,
    Evaluation,
)
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.safety import METRIC, SUITES, Safety

ROOT = Path(__file__).resolve().parents[4]
JUDGED = Evaluation(id="ev-1", candidate="helpdesk_lora@1", baseline="smollm2@1")
MAX_CASES = 20
"""Each is answered twice, in about a second each."""


@dataclass
class Evaluator:
    """Answers with one evaluation, and keeps what it was asked."""

    found: Evaluation
    asked: list[rpc.StartEvaluationRequest] = field(default_factory=list)

    async def start(self, request: rpc.StartEvaluationRequest) -> rpc.StartEvaluationResponse:
        self.asked.append(request)
        return rpc.StartEvaluationResponse(evaluation=Evaluation(id="ev-2"))

    async def get(self, _request: rpc.GetEvaluationRequest) -> rpc.GetEvaluationResponse:
        return rpc.GetEvaluationResponse(evaluation=self.found)


async def compared(evaluator: Evaluator) -> dict[str, object]:
    report = Report("demo")
    stub = SimpleNamespace(StartEvaluation=evaluator.start, GetEvaluation=evaluator.get)
    await Safety(connection=cast("Any", SimpleNamespace(evaluations=stub)), report=report)(JUDGED)
    return report.figures["safety"]


async def test_abilities_and_safety_are_reported_before_and_after() -> None:
    met = Comparison(case_set="suite:abilities@1", metric=METRIC, cases=8, baseline=0.75, candidate=0.5, low=-1, high=1)
    other = Comparison(case_set="suite:abilities@1", metric="rouge_l", baseline=0.1, candidate=0.2)
    evaluator = Evaluator(Evaluation(state=EVALUATION_STATE_COMPLETED, comparisons=[other, met]))

    figures = await compared(evaluator)

    (asked,) = evaluator.asked
    assert (asked.candidate, asked.baseline, asked.gate) == ("helpdesk_lora@1", "smollm2@1", "")
    assert asked.request_id == "safety-ev-1"  # a continued demo goes on with the same evaluation
    assert figures == {"state": "completed", "abilities_before": 0.75, "abilities_after": 0.5}


async def test_suites_that_came_to_no_figures_fail_no_demo() -> None:
    failed = Evaluation(state=EVALUATION_STATE_FAILED, reason="TOO_FEW_ANSWERS", message="none was answered")

    assert await compared(Evaluator(failed)) == {"state": "failed", "reason": "TOO_FEW_ANSWERS: none was answered"}


def test_the_suites_that_are_shown_are_declared_with_few_cases_and_no_gate_requires_them() -> None:
    loop = YAML(typ="safe").load(ROOT / "examples" / "helpdesk" / "loop.yaml")

    shipped = {name: suite["max_cases"] for name, suite in loop["suites"].items() if "shipped" in suite}
    assert set(shipped) == set(SUITES)
    assert sum(shipped.values()) <= MAX_CASES
    required = {each["cases"].get("suite") for gate in loop["gates"].values() for each in gate["require"]}
    assert not required & set(SUITES)
