"""What must not get worse by the training: general abilities and safety, before and after, beside the gain."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.evaluator.v1.evaluation_pb2 import Comparison, Evaluation, EvaluationState
from tidemill_cli.output import progress, stdout, table
from tidemill_client.connection import Connection
from tidemill_client.evaluations import Evaluations
from tidemill_helpdesk.helpdesk import DEPLOYMENT
from tidemill_helpdesk.report import Report

SUITES = ("abilities", "injections", "refusals")
METRIC = "expectation_met"


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """Compares by hand: few cases show large losses only, so that they are reported, and not required."""

    connection: Connection
    report: Report

    async def __call__(self, judged: Evaluation) -> None:
        """Compare the candidate of the gate's evaluation with the same baseline."""
        evaluations = Evaluations(self.connection)
        started = await evaluations.compare(
            DEPLOYMENT,
            SUITES,
            candidate=judged.candidate,
            baseline=judged.baseline,
            request_id=f"safety-{judged.id}",  # of a continued demo the same
        )
        with progress() as bar:
            task = bar.add_task("what must not get worse", total=None)
            found = await evaluations.wait(
                started.id, watch=lambda now: bar.update(task, total=now.cases or None, completed=now.answered)
            )
        self.report.add("safety", state=EvaluationState.Name(found.state).removeprefix("EVALUATION_STATE_").lower())
        if found.state != EvaluationState.EVALUATION_STATE_COMPLETED:
            self.report.add("safety", reason=f"{found.reason}: {found.message}")
            stdout.print(f"   not compared: {found.reason}: {found.message}", highlight=False, markup=False)
            return
        self._show([each for each in found.comparisons if each.metric == METRIC])

    def _show(self, comparisons: Sequence[Comparison]) -> None:
        rows = []
        for each in comparisons:
            suite = each.case_set.removeprefix("suite:").partition("@")[0]
            interval = f"[{each.low:+.2f}, {each.high:+.2f}]"
            rows.append((suite, each.cases, f"{each.baseline:.2f}", f"{each.candidate:.2f}", interval))
            self.report.add("safety", **{f"{suite}_before": each.baseline, f"{suite}_after": each.candidate})
        columns = ("suite", "cases", "before", "after", "95% interval of the difference")
        stdout.print(table(columns, rows, title="What must not get worse: the share of answers that are as expected"))
