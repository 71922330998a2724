"""The demo's evaluation step: watch it, report the verdict, and compare it with shuffled references."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.evaluator.v1.evaluation_pb2 import CaseResult, Comparison, Evaluation, Verdict
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.stages import unanswered
from tidemill_cli.output import stdout
from tidemill_client.connection import Connection
from tidemill_client.evaluations import Evaluations
from tidemill_helpdesk.example import Example
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.watching import judged

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
        evaluation = await judged(self.connection, GATE, candidate, retry=retry)
        self.cases = [case async for case in Evaluations(self.connection).cases(evaluation.id)]
        await self._report(evaluation)
        return evaluation

    async def _report(self, evaluation: Evaluation) -> None:
        held_out = comparison_of(evaluation, "dataset:")
        trusted = comparison_of(evaluation, "suite:")
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
            broken=unmet(evaluation),
            verdict=show_verdict(evaluation, [held_out, trusted]),
        )
        self.report.add("shuffles", **await self._shuffles())

    async def _shuffles(self) -> dict[str, Any]:
        """Return how often the gate would pass with shuffled references, without calling a model."""
        sets: dict[str, list[list[str]]] = {"dataset": [], "suite": []}
        for case in _answered(self.cases):
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
        return scores_of(self.cases)


def scores_of(cases: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Return the scores of cases before and after, for the report."""
    return [
        {
            "case_set": case.case_set,
            "metric": METRIC,
            "question": case.question,
            "before": case.baseline.scores[METRIC],
            "after": case.candidate.scores[METRIC],
        }
        for case in _answered(cases)
    ]


def comparison_of(evaluation: Evaluation, prefix: str) -> Comparison:
    """Return the comparison by METRIC on a dataset or a suite."""
    return next(c for c in evaluation.comparisons if c.case_set.startswith(prefix) and c.metric == METRIC)


def unmet(evaluation: Evaluation) -> list[str]:
    """Return the requirements of the gate that do not hold."""
    return [f"{each.metric} on {each.case_set}" for each in evaluation.comparisons if each.required and not each.holds]


def show_verdict(evaluation: Evaluation, comparisons: Sequence[Comparison]) -> str:
    """Print comparisons with their intervals, what is not met, and the verdict; return the verdict."""
    verdict = "passed" if evaluation.verdict == Verdict.VERDICT_PASSED else "failed"
    for each in comparisons:
        lacking = f"; unanswered: {lacking}" if (lacking := unanswered(each)) else ""
        stdout.print(
            f"   {each.case_set}: {each.metric} {each.baseline:.3f} -> {each.candidate:.3f}, difference "
            f"{each.difference:+.3f} in [{each.low:+.3f}, {each.high:+.3f}], {each.cases} questions{lacking}",
            highlight=False,
        )
    for broken in (c for c in evaluation.comparisons if c.note):
        stdout.print(f"   {broken.metric} on {broken.case_set} is not met: {broken.note}", highlight=False)
    stdout.print(f"   Gate: [bold]{verdict}[/]")
    return verdict


def _answered(cases: Sequence[CaseResult]) -> list[CaseResult]:
    """Return the cases that both sides answered, as in the means."""
    return [case for case in cases if not case.baseline.failure and not case.candidate.failure]
