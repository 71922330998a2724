from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.sweeps.fakes import KEY, Sweeping
from services.trainer.tests.training.fakes import dataset_version, request
from tidemill_core.application import Request
from tidemill_trainer.errors import RunLost, SweepLost, TrainingFailed, TrialNotRetriable
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.sweeps.domain.sweep import SweepState, SweepTrialState
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.search import Budget


@pytest.fixture
async def sweeping(tmp_path: Path) -> Sweeping:
    return await Sweeping(folder=tmp_path).ready()


async def runs_of(sweeping: Sweeping) -> list[TrainingRun]:
    return sweeping.training.runs.all()


async def test_the_best_trial_is_trained_on_everything_and_only_that_registers_a_version(sweeping: Sweeping) -> None:
    await sweeping.create()

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.winner, sweep.model_version) == (SweepState.SUCCEEDED, 2, "lora@1")
    assert [trial.state for trial in sweep.trials] == [SweepTrialState.MEASURED] * 4
    assert sweeping.registered == ["lora@1"]
    *trials, winner = await runs_of(sweeping)
    assert [(run.state, run.model_version) for run in trials] == [(RunState.MEASURED, "")] * 4
    assert (winner.id, winner.trial, winner.recipe.args["learning_rate"]) == (sweep.run, None, 1e-3)
    version = await sweeping.training.registry.versions.get("acme", "lora@1")
    assert version.source == TrainedSource(run=sweep.run, base="smollm2@1", dataset_version="sft@1")
    cards = [
        each.decode() for each in sweeping.training.registry.artifacts.objects.values() if each.startswith(b"# lora")
    ]
    assert "with the best settings of sweep `rates`" in cards[0]
    held_out = [job.held_out for job in sweeping.training.trainings.jobs]
    assert (len(set(held_out[:4])), held_out[4]) == (1, None)
    assert not list((sweeping.folder / "runs" / "acme").iterdir())


async def test_only_the_winner_of_a_sweep_publishes_events_of_runs(sweeping: Sweeping) -> None:
    await sweeping.create()

    await sweeping.conclude()

    assert [type(event).__name__ for event in sweeping.training.runs.published] == ["RunWasQueued", "RunHasSucceeded"]
    assert [type(event).__name__ for event in sweeping.sweeps.published] == ["SweepHasEnded"]


async def test_trials_run_side_by_side_up_to_the_limit(sweeping: Sweeping) -> None:
    await sweeping.create(max_parallel=3)

    sweep = await sweeping.reconcile()

    assert [trial.number for trial in sweep.running] == [1, 2, 3]
    assert len(sweeping.enqueued) == 3


async def test_a_trial_that_others_outdo_ends_early(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=2)
    await sweeping.reconcile()
    sweeping.search.prune = lambda trial: trial.number == 1

    sweep = await sweeping.reconcile()
    first, second = sweep.trials
    assert (first.state, second.state) == (SweepTrialState.PRUNED, SweepTrialState.RUNNING)
    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.winner) == (SweepState.SUCCEEDED, 2)
    run = await sweeping.training.runs.get("acme", first.run)
    assert (run.state, run.reason, run.model_version) == (RunState.PRUNED, "PRUNED", "")
    with pytest.raises(RunLost):
        run.refuse_unless_claimed(run.epoch)


async def test_a_sweep_whose_every_trial_fails_ends_early_with_their_reasons(sweeping: Sweeping) -> None:
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.create(max_trials=4)

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.reason, len(sweep.trials)) == (SweepState.FAILED, "ALL_TRIALS_FAILED", 3)
    assert "3 failed: DIVERGED" in sweep.message
    assert sweeping.registered == []


async def test_a_failed_trial_among_others_is_passed_over(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=2)
    await sweeping.reconcile()
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.train()
    sweeping.training.trainings.error = None

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.winner, sweep.trials[0].reason) == (SweepState.SUCCEEDED, 2, "DIVERGED")


def spend(seconds: float) -> Callable[[TrainingRun], None]:
    """Return a change after which a run has computed this long."""

    def change(run: TrainingRun) -> None:
        run.progress = replace(run.progress, seconds=seconds)

    return change


@pytest.mark.parametrize(
    "budget", [Budget(time=timedelta(minutes=30)), Budget(cost=1.0, price_per_hour=2.0)], ids=["time", "money"]
)
async def test_a_spent_budget_ends_the_search_and_what_was_measured_decides(sweeping: Sweeping, budget: Budget) -> None:
    created = await sweeping.create(budget=budget)
    await sweeping.reconcile()
    await sweeping.train()
    sweep = await sweeping.reconcile()
    await sweeping.training.runs.update("acme", sweep.running[0].run, spend(1800), request=Request.internal())
    sweeping.enqueued.clear()

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.winner, len(sweep.trials)) == (SweepState.SUCCEEDED, 1, 2)
    assert (sweep.trials[1].state, created.budget) == (SweepTrialState.FAILED, budget)
    assert "budget is spent" in sweep.message


async def test_a_budget_that_ends_before_any_measurement_fails_the_sweep(sweeping: Sweeping) -> None:
    await sweeping.create(budget=Budget(time=timedelta(seconds=1)))
    sweep = await sweeping.reconcile()
    await sweeping.training.runs.update("acme", sweep.trials[0].run, spend(2), request=Request.internal())
    sweeping.enqueued.clear()

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.reason) == (SweepState.FAILED, "BUDGET_EXHAUSTED")
    assert "failed" not in sweep.message


async def test_a_budget_that_ends_after_failures_names_them(sweeping: Sweeping) -> None:
    await sweeping.create(budget=Budget(time=timedelta(seconds=1)))
    sweep = await sweeping.reconcile()
    await sweeping.training.runs.update("acme", sweep.trials[0].run, spend(2), request=Request.internal())
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.train()

    sweep = await sweeping.conclude()

    assert (sweep.reason, sweep.message.partition("; ")[2]) == ("BUDGET_EXHAUSTED", "1 failed: DIVERGED")


async def test_a_spent_budget_ends_a_trial_whose_run_a_killed_controller_never_queued(sweeping: Sweeping) -> None:
    await sweeping.create(max_parallel=2, budget=Budget(time=timedelta(seconds=1)))
    sweep = await sweeping.reconcile()
    await sweeping.training.runs.update("acme", sweep.trials[0].run, spend(2), request=Request.internal())
    sweeping.training.runs.remove("acme", sweep.trials[1].run)

    sweep = await sweeping.reconcile()

    assert (sweep.state, sweep.reason, sweep.open) == (SweepState.FAILED, "BUDGET_EXHAUSTED", False)


async def test_a_sweep_whose_dataset_lost_examples_meanwhile_fails(sweeping: Sweeping) -> None:
    await sweeping.create(max_parallel=2)
    await sweeping.reconcile()
    await sweeping.training.train(sweeping.enqueued.pop(0))
    left = dataset_version(examples=90)
    sweeping.training.datasets.publish(DatasetVersion(id=left.id, train=left.train, examples=90))

    sweep = await sweeping.conclude()

    assert (sweep.state, sweep.reason) == (SweepState.FAILED, "DATASET_CHANGED")
    assert "create another sweep" in sweep.message
    assert sweeping.registered == []


async def test_a_cancelled_sweep_cancels_its_runs_and_registers_nothing(sweeping: Sweeping) -> None:
    await sweeping.create(max_parallel=2)
    await sweeping.reconcile()

    await sweeping.crud.cancel(ADA, "rates", request=request())
    sweep = await sweeping.reconcile()

    assert (sweep.state, sweep.open, sweep.reason) == (SweepState.CANCELLED, False, "CANCELLED")
    assert {(run.state, run.message) for run in await runs_of(sweeping)} == {(RunState.CANCELLED, "ended by its sweep")}


async def test_a_winner_that_is_cancelled_is_never_registered_by_a_slower_worker(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=1)
    await sweeping.reconcile()
    await sweeping.train()
    add = sweeping.training.runs.add
    sweeping.training.runs.add = crash  # type: ignore[method-assign,assignment] # before the winner's run is queued
    with pytest.raises(Crash):
        await sweeping.reconcile()
    sweeping.training.runs.add = add  # type: ignore[method-assign]
    await sweeping.crud.cancel(ADA, "rates", request=request())

    sweep = await sweeping.reconcile()

    winner = await sweeping.training.runs.get("acme", sweep.run)
    assert (sweep.state, sweep.open, winner.state) == (SweepState.CANCELLED, False, RunState.CANCELLED)


class Crash(Exception):
    """The process was killed."""


async def crash(*_: object, **__: object) -> None:
    raise Crash


@pytest.mark.heavy
async def test_a_sweep_goes_on_after_a_kill_at_every_write(tmp_path: Path) -> None:
    """Let the n-th write of sweep or run fail, for each n, and reconcile again: the result is the same."""
    whole = await Sweeping(folder=tmp_path / "whole").ready()
    await whole.create(max_trials=2, max_parallel=2)
    expected = await whole.conclude()
    number, crashed = 0, True
    while crashed:
        number += 1
        sweeping = await Sweeping(folder=tmp_path / str(number)).ready()
        await sweeping.create(max_trials=2, max_parallel=2)
        crashed = await concluded_with_a_crash(sweeping, at=number)
        sweep = await sweeping.sweeps.get("acme", "rates")
        assert (sweep.state, sweep.winner) == (expected.state, expected.winner)
        assert [trial.point for trial in sweep.trials] == [trial.point for trial in expected.trials]
        assert (sweeping.registered, len(await runs_of(sweeping))) == (["lora@1"], 3)
    assert number > 8


async def concluded_with_a_crash(sweeping: Sweeping, *, at: int) -> bool:
    """Conclude a sweep whose conductor crashes before its write of this number; return whether there was one."""
    writes = 0

    def crashing(write: Callable[..., object]) -> Callable[..., object]:
        def counted(*given: object, **named: object) -> object:
            nonlocal writes
            writes += 1
            if writes == at:
                raise Crash
            return write(*given, **named)

        return counted

    stores = [(sweeping.sweeps, "update"), (sweeping.training.runs, "add"), (sweeping.training.runs, "update")]
    for _ in range(50):
        originals = [getattr(store, name) for store, name in stores]
        for (store, name), write in zip(stores, originals, strict=True):
            setattr(store, name, crashing(write))
        try:
            sweep = await sweeping.reconcile()
        except Crash:
            sweep = await sweeping.sweeps.get("acme", "rates")
        finally:
            for (store, name), write in zip(stores, originals, strict=True):
                setattr(store, name, write)
        if not sweep.open:
            return writes >= at
        await sweeping.train()
    pytest.fail("the sweep does not end")


async def test_a_worker_that_slept_through_its_lease_changes_nothing(sweeping: Sweeping) -> None:
    await sweeping.create()
    sweep = await sweeping.reconcile()
    await sweeping.reconcile()

    with pytest.raises(SweepLost):
        sweep.refuse_unless_claimed(0)
    stale = await sweeping.sweeps.get("acme", "rates")
    await sweeping.conduct(KEY, epoch=1)
    assert await sweeping.sweeps.get("acme", "rates") == stale


async def test_a_trial_is_not_retried_by_hand(sweeping: Sweeping) -> None:
    sweeping.training.trainings.error = TrainingFailed("why", reason="DIVERGED")
    await sweeping.create()
    sweep = await sweeping.reconcile()
    await sweeping.train()

    with pytest.raises(TrialNotRetriable, match="trial of sweep rates"):
        await sweeping.training.run_crud.retry(ADA, sweep.trials[0].run, request=request())


async def test_a_sweep_is_notified_of_what_its_runs_measure(sweeping: Sweeping) -> None:
    notified: list[str] = []
    harness = sweeping.training
    harness.train_run = replace(harness.train_run, notify_sweep=lambda key: notified.append(key.key))
    await sweeping.create(max_trials=1)

    await sweeping.conclude()

    assert set(notified) == {"acme/rates"}


async def test_a_sweep_that_is_cancelled_while_its_winner_is_registered_names_the_version(sweeping: Sweeping) -> None:
    await sweeping.create(max_trials=1)
    await sweeping.reconcile()
    await sweeping.train()
    sweep = await sweeping.reconcile()

    def registering(run: TrainingRun) -> None:
        run.state = RunState.REGISTERING

    await sweeping.training.runs.update("acme", sweep.run, registering, request=Request.internal())
    await sweeping.crud.cancel(ADA, "rates", request=request())
    still = await sweeping.reconcile()

    def registered(run: TrainingRun) -> None:
        run.state, run.model_version = RunState.SUCCEEDED, "lora@1"

    await sweeping.training.runs.update("acme", sweep.run, registered, request=Request.internal())
    sweep = await sweeping.reconcile()

    assert (still.state, still.open, still.model_version) == (SweepState.CANCELLED, True, "")
    assert (sweep.state, sweep.open, sweep.model_version) == (SweepState.CANCELLED, False, "lora@1")
    assert "its winner was being registered, and is lora@1" in sweep.message
