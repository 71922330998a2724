"""How an evaluation by a gate that asks for a smaller model is shown."""

import pytest

from tidemill.evaluator.v1.evaluation_pb2 import Comparison, Evaluation, EvaluationState, Gate, Verdict
from tidemill_cli.evaluations import _evidence
from tidemill_cli.loop.stages import evaluation_stage
from tidemill_cli.run_history.comparison import evidence


@pytest.mark.parametrize(
    ("baseline", "candidate", "shown"),
    [
        (269.1e6, 135.0e6, ("269.1 MB", "135.0 MB", "+134.1 MB", "", "at most 161.5 MB", "holds")),
        (0, 135.0e6, ("-", "135.0 MB", "-", "", "", "does not hold")),
    ],
)
def test_weights_are_shown_in_megabytes_beside_the_limit(
    baseline: float, candidate: float, shown: tuple[str, ...]
) -> None:
    size = Comparison(
        case_set="weights", metric="weights_bytes", required=True, less_is_better=True, holds=bool(baseline)
    )
    size.baseline, size.candidate, size.difference = baseline, candidate, baseline - candidate
    size.gain_above = baseline * (1 - 0.6)

    assert _evidence(size) == ("weights", "bytes (less is better)", "", *shown, "")


def test_the_status_of_a_loop_and_the_history_of_a_run_say_weights_in_megabytes() -> None:
    size = Comparison(case_set="weights", metric="weights_bytes", required=True, baseline=269.1e6, candidate=135.0e6)
    evaluation = Evaluation(
        state=EvaluationState.EVALUATION_STATE_COMPLETED,
        gate="smaller",
        candidate="small@1",
        verdict=Verdict.VERDICT_FAILED,
        comparisons=[size],
    )

    stage = evaluation_stage(Gate(id="smaller", candidate="small"), evaluation)

    assert stage.says == "small@1 failed: weights 135.0 MB against 269.1 MB"
    assert ("weights", "135.0 MB against 269.1 MB") in list(evidence(evaluation))
