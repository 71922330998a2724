"""Trials: what is held out, and that they are measured on it and leave nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.learning.same_fits import train_as_before
from services.trainer.tests.learning.test_training import RecordedReports, job_in
from services.trainer.tests.learning.tiny import write_base
from tidemill_trainer.learning.examples import Row
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.held_out import split
from tidemill_trainer.learning.job import Job
from tidemill_trainer.training.domain.trial import HeldOut

HELD_OUT = HeldOut(share=0.25, seed=3, measurements=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def run(job: Job) -> RecordedReports:
    reports = RecordedReports()
    train_as_before(job, reports)
    return reports


def test_a_share_of_the_prompts_is_held_out_and_no_prompt_is_on_both_sides() -> None:
    rows = [Row((prompt, answer), 1) for prompt in range(40) for answer in (100, 101)]

    learnt, measured = split(rows, HELD_OUT, minimum=8)

    assert (len(learnt), len(measured)) == (60, 20)
    assert {row.tokens[0] for row in learnt}.isdisjoint(row.tokens[0] for row in measured)
    assert split(rows, HELD_OUT, minimum=8) == (learnt, measured)
    assert split(rows, replace(HELD_OUT, seed=4), minimum=8)[1] != measured


def test_too_few_examples_to_hold_some_out_are_refused() -> None:
    with pytest.raises(TrainingStopped, match="hold out less") as stopped:
        split([Row((prompt, 9), 1) for prompt in range(10)], HELD_OUT, minimum=8)

    assert stopped.value.reason == "DATASET_TOO_SMALL"


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "reward"])
def test_a_trial_is_measured_on_what_it_does_not_learn_from_and_writes_no_adapter(
    tmp_path: Path, base: Path, method: str
) -> None:
    job = replace(job_in(tmp_path / "run", base, method=method), held_out=HELD_OUT)

    measured = [line for line in run(job).lines if line["event"] == "measured"]

    assert [line["at"] for line in measured] == [3, 5]
    assert all(line["loss"] > 0 for line in measured)
    assert not Path(job.made).exists()


def test_the_measurements_before_a_kill_are_reported_again(tmp_path: Path, base: Path) -> None:
    job = replace(job_in(tmp_path / "run", base), held_out=HELD_OUT)
    whole = [(line["at"], line["loss"]) for line in run(job).lines if line["event"] == "measured"]

    _fitted, begun, *rest = run(job).lines

    again = [(line["at"], line["loss"]) for line in rest if line["event"] == "measured"]
    assert begun["step"] >= 4
    assert [*begun["held_out_losses"], *again] == whole
