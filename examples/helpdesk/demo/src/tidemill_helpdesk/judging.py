"""The demo's evaluation step: watch it, report the verdict, and compare it with shuffled references."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from tidemill.evaluator.v1.evaluation_pb2 import CaseResult, Comparison, Evaluation, EvaluationState, Verdict
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.stages import unanswered
from tidemill_cli.output import progress, stdout
from tidemill_client.connection import Connection
from tidemill_client.evaluations import ENDED, Evaluations
from tidemill_core.errors import Internal
from tidemill_helpdesk.example import Example
from tidemill_helpdesk.patience import until
from tidemill_helpdesk.report import Report

GATE, METRIC = "helpdesk_gate", "rouge_l"
SHUFFLES = 20


@dataclass(slots=True, kw_only=True)
class Judging:
    """The evaluation that the gate has started."""

    connection: Connection
    example: Example
    report: Report
    cases: list[CaseResult] = field(default_factory=list)

    async def evaluate(self, candidate: str, *, retry: bool = False) -> Evaluation:
        """Watch the evaluation that the new model version triggers, and report its verdict.

        With `retry`, start it again if it has failed.
        """
        evaluations = Evaluations(self.connection)
        found = [each async for each in evaluations.all(gate=GATE, candidate=candidate)] if retry else []
        if found and found[-1].state in ENDED - {EvaluationState.EVALUATION_STATE_COMPLETED}:
            await evaluations.start(GATE, candidate, request_id=str(uuid.uuid4()))
        with progress() as bar:
            task = bar.add_task("waiting for the evaluation", total=None)

            async def ended() -> Evaluation | None:
                found = [each async for each in evaluations.all(gate=GATE, candidate=candidate)]
                if not found:
                    return None
                latest = found[-1]
                if latest.cases:
                    bar.update(task, description="cases", total=latest.cases, completed=latest.answered)
                return latest if latest.state in ENDED else None

            listed = await until(ended, "no evaluation finished")
        evaluation = await evaluations.get(listed.id)
        if evaluation.state != EvaluationState.EVALUATION_STATE_COMPLETED:
            message = f"the evaluation has no verdict: {evaluation.reason} {evaluation.message}"
            raise Internal(message)
        self.cases = [case async for case in evaluations.cases(evaluation.id)]
        await self._report(evaluation)
        return evaluation

    async def _report(self, evaluation: Evaluation) -> None:
        held_out = _comparison(evaluation, "dataset:")
        trusted = _comparison(evaluation, "suite:")
        verdict = "passed" if evaluation.verdict == Verdict.VERDICT_PASSED else "failed"
        self.report.add(
            "evaluation",
            metric=held_out.metric,
            cases=held_out.cases,
            baseline=held_out.baseline,
            candidate=held_out.candidate,
            difference=held_out.difference,
            interval=[held_out.low, held_out.high],
            trusted_cases=trusted.cases,
            trusted_baseline=trusted.baseline,
            trusted_candidate=trusted.candidate,
            trusted_difference=trusted.difference,
            trusted_interval=[trusted.low, trusted.high],
            unanswered=held_out.unanswered,
            trusted_unanswered=trusted.unanswered,
            not_in_time=held_out.not_in_time + trusted.not_in_time,
            baseline_latency_s=evaluation.baseline_latency.ToMilliseconds() / 1000,
            candidate_latency_s=evaluation.candidate_latency.ToMilliseconds() / 1000,
            verdict=verdict,
            broken=[f"{c.metric} on {c.case_set}" for c in evaluation.comparisons if c.required and not c.holds],
        )
        for comparison in (held_out, trusted):
            lacking = f"; unanswered: {lacking}" if (lacking := unanswered(comparison)) else ""
            stdout.print(
                f"   {comparison.case_set}: {comparison.metric} {comparison.baseline:.3f} -> "
                f"{comparison.candidate:.3f}, difference {comparison.difference:+.3f} in [{comparison.low:+.3f}, "
                f"{comparison.high:+.3f}], {comparison.cases} questions{lacking}",
                highlight=False,
            )
        for broken in (c for c in evaluation.comparisons if c.note):
            stdout.print(f"   {broken.metric} on {broken.case_set} is not met: {broken.note}", highlight=False)
        stdout.print(f"   Gate: [bold]{verdict}[/]")
        self.report.add("shuffles", **await self._shuffles())

    async def _shuffles(self) -> dict[str, Any]:
        """Return how often the gate would pass with shuffled references, without calling a model."""
        sets: dict[str, list[list[str]]] = {"dataset": [], "suite": []}
        for case in self._answered():
            sets[case.case_set.partition(":")[0]].append([case.reference, case.baseline.text, case.candidate.text])
        gate = read_loop(self.example.loop).gates[GATE]
        gains = {bool(each.cases.suite): each.gain_above for each in gate.require if each.metric == METRIC}
        given = {
            "held_out": sets["dataset"],
            "trusted": sets["suite"],
            "confidence": gate.confidence,
            "gain_above": gains[False],
            "trusted_gain_above": gains[True],
            "shuffles": SHUFFLES,
            "seed": 7,
        }
        return await self.example.run("shuffles.py", [], json.dumps(given))

    def scores(self) -> list[dict[str, Any]]:
        """Return the scores of every case before and after, for the report."""
        return [
            {
                "case_set": case.case_set,
                "metric": METRIC,
                "question": case.question,
                "before": case.baseline.scores[METRIC],
                "after": case.candidate.scores[METRIC],
            }
            for case in self._answered()
        ]

    def _answered(self) -> list[CaseResult]:
        """Return the cases that both sides answered, as in the means."""
        return [case for case in self.cases if not case.baseline.failure and not case.candidate.failure]


def _comparison(evaluation: Evaluation, prefix: str) -> Comparison:
    return next(c for c in evaluation.comparisons if c.case_set.startswith(prefix) and c.metric == METRIC)
