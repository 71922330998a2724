"""The stage of a training that searches says how far its newest sweep is."""

import pytest

from libs.cli.tests.commands.answers import training_run
from libs.cli.tests.commands.sweep_answers import sweep as sweep_in
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1 import training_pb2 as tr
from tidemill_cli.loop.sweep_stages import sweep_stage

PLAN = tr.TrainingPlan(id="helpdesk_lora", dataset="helpdesk_sft", sweep=tr.PlannedSweep(max_trials=3))
TRIALS = "3 of 3 trials ended, best loss 1.5000"


@pytest.mark.parametrize(
    ("state", "word", "says"),
    [
        (pb.SWEEP_STATE_RUNNING, "running", f"sweep rates on helpdesk_sft@2: {TRIALS}"),
        (pb.SWEEP_STATE_TRAINING_WINNER, "running", "sweep rates: trial 1 is the best, and is trained in full"),
        (pb.SWEEP_STATE_SUCCEEDED, "done", f"helpdesk_lora@3 trained on helpdesk_sft@2 as trial 1: {TRIALS}"),
        (pb.SWEEP_STATE_FAILED, "failed", "sweep rates: BUDGET_EXHAUSTED: too little"),
    ],
)
def test_a_training_says_where_its_sweep_is(state: pb.SweepState.ValueType, word: str, says: str) -> None:
    found = sweep_in(state)
    if state == pb.SWEEP_STATE_FAILED:
        found.reason, found.message = "BUDGET_EXHAUSTED", "too little"

    stage = sweep_stage(PLAN, found, None)

    assert (stage.state, stage.says, stage.done, stage.total) == (word, says, 3, 3)
    assert (stage.stage, stage.name, stage.subject) == ("training", "helpdesk_lora", "rates")


def test_a_search_that_tried_all_points_of_its_space_is_done() -> None:
    found = sweep_in(pb.SWEEP_STATE_SUCCEEDED)
    found.max_trials = 12

    stage = sweep_stage(PLAN, found, None)

    assert (stage.done, stage.total, TRIALS in stage.says) == (3, 3, True)


def test_before_its_first_version_it_waits() -> None:
    assert sweep_stage(PLAN, None, None).says == "waits for a version of helpdesk_sft"


def run_at(seconds: int, *, sweep: str = "") -> tr.TrainingRun:
    run = training_run()
    run.create_time.FromSeconds(seconds)
    run.sweep = sweep
    return run


def test_while_the_winner_is_trained_its_run_is_the_progress() -> None:
    found = sweep_in(pb.SWEEP_STATE_TRAINING_WINNER)
    found.run = "run-2"

    assert sweep_stage(PLAN, found, run_at(5, sweep="rates")).says == "training, step 31 of 48, 70 s left"


def test_a_run_that_is_newer_than_the_newest_sweep_is_shown() -> None:
    found = sweep_in(pb.SWEEP_STATE_SUCCEEDED)
    found.create_time.FromSeconds(10)

    assert sweep_stage(PLAN, found, run_at(11)).subject == "run-2"
    assert sweep_stage(PLAN, found, run_at(9)).subject == "rates"
