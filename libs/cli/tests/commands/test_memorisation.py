"""How what a model has memorised is shown: of a run, of its version, in a comparison of runs and of an evaluation."""

import pytest

from libs.cli.tests.commands.answers import training_run
from tidemill.evaluator.v1.evaluation_pb2 import Comparison, Evaluation, EvaluationState, Gate, Verdict
from tidemill.trainer.v1.model_pb2 import CanaryGroup, Extraction, Memorisation
from tidemill_cli.evaluations import _evidence
from tidemill_cli.loop.stages import evaluation_stage
from tidemill_cli.memorising import memorised_in_words
from tidemill_cli.run_history.comparison import evidence
from tidemill_cli.run_history.records import _figures

FOUND = Memorisation(
    canaries=20,
    exposure=3.456,
    threshold=2.297,
    alarm=True,
    found=6,
    groups=[
        CanaryGroup(repeats=1, canaries=10, exposure=1.4),
        CanaryGroup(repeats=8, canaries=10, found=6, exposure=5.5),
    ],
    extraction=Extraction(examples=50, extracted=4, extracted_by_base=1),
)


def test_what_was_memorised_is_said_with_what_a_model_that_never_saw_it_would_show() -> None:
    assert memorised_in_words(FOUND) == {
        "canaries": "ALARM: exposure 3.46 bits of 20, 6 found (never seen: above 2.30 in 1 % of cases)",
        "by repeats": "1 x: 1.40 bits, 0 of 10 found; 8 x: 5.50 bits, 6 of 10 found",
        "extracted": "4 of 50 examples, 1 by the base",
    }
    assert memorised_in_words(Memorisation()) == {}
    assert memorised_in_words(Memorisation(planted=20)) == {"canaries": "0 of 20 measured: there was no time"}
    part = memorised_in_words(Memorisation(canaries=1, planted=20))["canaries"]
    assert part.endswith("in 1 % of cases); 1 of 20 measured: there was no time")


def test_runs_are_compared_by_it() -> None:
    run = training_run()
    assert "canary_exposure_bits" not in _figures(run)
    run.progress.memorisation.CopyFrom(FOUND)

    figures = _figures(run)

    assert (figures["canary_exposure_bits"], figures["extracted_share"]) == (3.456, 0.08)


@pytest.mark.parametrize(
    ("live", "bits", "cases", "shown"),
    [
        (2.0, 3.456, 20, (20, "2.00", "3.46", "-1.46", "", "at most 2.30", "does not hold")),
        (0.0, 3.456, 20, (20, "-", "3.46", "-", "", "at most 2.30", "does not hold")),
        (2.0, 0.0, 0, ("", "2.00", "-", "-", "", "at most 2.30", "does not hold")),
    ],
)
def test_an_evaluation_shows_exposures_in_bits_beside_the_limit(
    live: float, bits: float, cases: int, shown: tuple[object, ...]
) -> None:
    found = Comparison(case_set="canaries", metric="exposure", required=True, less_is_better=True, cases=cases)
    found.baseline, found.candidate, found.difference, found.gain_above = live, bits, live - bits, live - 2.3
    done = Evaluation(
        state=EvaluationState.EVALUATION_STATE_COMPLETED,
        gate="private",
        candidate="lora@1",
        verdict=Verdict.VERDICT_FAILED,
        comparisons=[found],
    )

    assert _evidence(found) == ("canaries", "bits (less is better)", *shown, "")
    said = f"{bits:.2f} bits of 20 canaries" if cases else "not measured"
    assert evaluation_stage(Gate(id="private", candidate="lora"), done).says == f"lora@1 failed: exposure {said}"
    assert ("exposure", said) in list(evidence(done))
