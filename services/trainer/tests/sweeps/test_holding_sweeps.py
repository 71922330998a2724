"""What keeps a sweep from starting trials: a paused plan, failures, and a space that is used up."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.sweeps.fakes import RANKS, Sweeping
from tidemill_core.application import Request, ResourceKey
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.sweeps.domain.sweep import SweepState
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.reconcile import remove_ended_trials


@pytest.fixture
async def sweeping(tmp_path: Path) -> Sweeping:
    return await Sweeping(folder=tmp_path).ready()


async def set_paused(sweeping: Sweeping, *, paused: bool) -> None:
    def change(plan: TrainingPlan) -> None:
        plan.settings = replace(plan.settings, paused=paused)

    await sweeping.training.plans.update("acme", "lora", change, request=Request.internal())


async def test_a_paused_plan_starts_no_trial_and_what_runs_goes_on(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=2)
    await sweeping.reconcile()
    await set_paused(sweeping, paused=True)
    await sweeping.train()

    held = await sweeping.reconcile()
    await set_paused(sweeping, paused=False)
    sweep = await sweeping.conclude()

    assert (held.state, len(held.measured), len(held.trials)) == (SweepState.RUNNING, 1, 1)
    assert held.message == "waits until its plan is resumed"
    assert (sweep.state, len(sweep.trials), sweep.message) == (SweepState.SUCCEEDED, 2, "")


async def test_a_paused_plan_trains_no_winner(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=1)
    await sweeping.reconcile()
    await sweeping.train()
    await set_paused(sweeping, paused=True)

    held = await sweeping.reconcile()

    assert (len(sweeping.enqueued), held.open, held.run) == (0, True, "")
    await set_paused(sweeping, paused=False)
    assert (await sweeping.conclude()).state is SweepState.SUCCEEDED


async def test_a_sweep_of_a_deleted_plan_goes_on(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=2)
    sweeping.training.plans.remove("acme", "lora")

    assert (await sweeping.conclude()).state is SweepState.SUCCEEDED


async def test_failures_end_a_sweep_only_when_no_trial_runs_any_more(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=4, max_parallel=4)
    await sweeping.reconcile()
    healthy = sweeping.enqueued.pop()
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.train()
    sweeping.training.trainings.error = None

    meanwhile = await sweeping.reconcile()
    sweeping.enqueued.append(healthy)
    sweep = await sweeping.conclude()

    assert (meanwhile.state, len(meanwhile.failed), len(meanwhile.running)) == (SweepState.RUNNING, 3, 1)
    assert (sweep.state, sweep.winner) == (SweepState.SUCCEEDED, 4)


async def test_no_further_trials_start_after_many_failures(sweeping: Sweeping) -> None:
    sweeping.search.points = [(1e-4 * each,) for each in range(1, 9)]
    await sweeping.create(max_trials=8, max_parallel=4)
    await sweeping.reconcile()
    sweeping.enqueued.pop()
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.train()

    assert len((await sweeping.reconcile()).trials) == 4


async def test_a_space_with_fewer_points_than_trials_is_searched_once(sweeping: Sweeping) -> None:
    sweeping.search.points = [(1.0,), (0.0,), (2.0,)]
    await sweeping.create(space=(RANKS,), max_trials=12)

    sweep = await sweeping.conclude()

    assert (sweep.state, len(sweep.trials)) == (SweepState.SUCCEEDED, 3)


async def test_a_trial_that_fails_without_a_step_has_spent_its_time(sweeping: Sweeping) -> None:
    sweeping.training.trainings.losses, sweeping.training.trainings.error = (), TrainingFailed("why", reason="DIVERGED")
    await sweeping.create(max_trials=2)
    await sweeping.reconcile()
    await sweeping.train()

    assert (await sweeping.reconcile()).trials[0].seconds > 0


async def test_the_time_of_a_trial_is_known_while_it_says_nothing_new(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_run, "POLL_INTERVAL_S", 0.001)
    monkeypatch.setattr(train_run, "SPENT_INTERVAL_S", 0.001)
    sweeping.training.trainings.gate = asyncio.Event()
    await sweeping.create(max_trials=1)
    name = (await sweeping.reconcile()).trials[0].run
    training = asyncio.create_task(sweeping.train())
    await sweeping.training.trainings.begun.wait()

    async def spent_s(than: float) -> float:
        while (found := (await sweeping.training.runs.get("acme", name)).progress.seconds) <= than:  # noqa: ASYNC110 - the worker is another task
            await asyncio.sleep(0)
        return found

    first = await spent_s(0.0)
    assert await asyncio.wait_for(spent_s(first), 10) > first
    sweeping.training.trainings.gate.set()
    await training


async def test_runs_have_the_labels_of_plan_and_sweep(sweeping: Sweeping) -> None:
    def labelled(plan: TrainingPlan) -> None:
        plan.configure(replace(plan.settings, labels={"team": "help", "stage": "plan"}))

    await sweeping.training.plans.update("acme", "lora", labelled, request=Request.internal())
    await sweeping.create(max_trials=1, labels={"stage": "sweep"})
    await sweeping.conclude()

    runs = sweeping.training.runs.all()
    assert [run.labels for run in runs] == [{"team": "help", "stage": "sweep"}] * 2


async def test_the_checkpoints_of_a_trial_that_ended_without_its_worker_are_deleted(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=2, max_parallel=2)
    first, second = (await sweeping.reconcile()).trials
    folders = sweeping.training.folders
    for name in (first.run, second.run, "of another worker"):
        (await folders.open(ResourceKey(project="acme", id=name))).checkpoints.mkdir()
    sweeping.search.prune = lambda trial: trial.number == 1
    await sweeping.reconcile()

    await remove_ended_trials(folders, sweeping.training.runs)

    assert {key.id for key in await folders.found()} == {second.run, "of another worker"}
