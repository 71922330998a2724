from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.training.fakes import Harness
from tidemill_core.errors import InvalidInput
from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.domain.run import RunState


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


@pytest.mark.parametrize(
    ("method", "processes", "args", "message"),
    [
        ("sft", 0, {}, r"is 0; it must be 1 to 4 \(TRAINER_RUN_MAX_PROCESSES\)"),
        ("sft", 5, {}, r"is 5; it must be 1 to 4 \(TRAINER_RUN_MAX_PROCESSES\)"),
        ("sft", 3, {}, "is 3; it must divide per_device_train_batch_size = 8 or gradient_accumulation_steps = 1"),
        ("kto", 4, {"per_device_train_batch_size": 4.0}, "per_device_train_batch_size = 4 must be a multiple of 8"),
        ("grpo", 2, {}, "is 2; grpo has one process: use 1"),
    ],
)
async def test_processes_that_cannot_divide_a_step_are_refused(
    harness: Harness, method: str, processes: int, args: dict[str, Any], message: str
) -> None:
    rewards = (Reward(citation=True),) if method == "grpo" else ()

    with pytest.raises(InvalidInput, match=message):
        await harness.plan(method=method, processes=processes, args=args, rewards=rewards)


async def test_a_run_is_computed_by_the_processes_of_its_plan(harness: Harness) -> None:
    name = await harness.queued(processes=2)
    await harness.change(processes=4)

    assert await harness.train(name)

    assert [job.processes for job in harness.trainings.jobs] == [2]
    assert (await harness.run(name)).processes == 2


async def test_a_worker_refuses_a_run_of_more_processes_than_it_takes(harness: Harness) -> None:
    name = await harness.queued(processes=4)
    harness.train_run = replace(harness.train_run, needs=replace(harness.train_run.needs, max_processes=2))

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.FAILED, "TOO_MANY_PROCESSES")
    assert run.message == (
        "the run has 4 processes; this worker takes 2 (TRAINER_RUN_MAX_PROCESSES): retry it where more are, or start a "
        "run of a plan with fewer"
    )
    assert harness.trainings.jobs == []
