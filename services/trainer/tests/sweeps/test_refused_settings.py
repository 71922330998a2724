"""Sweeps whose settings a recipe refuses: of one stored when the recipe took them."""

from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.sweeps.fakes import KEY, RANKS, ScriptedSearch, Sweeping
from services.trainer.tests.training.fakes import request
from tidemill_core.application import Request
from tidemill_core.resources import Write
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepState, SweepTrialState
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.domain.search import Dimension, Range

STEPS = Dimension(setting="args.max_steps", range=Range(low=-1, high=4))


def stored_long_ago(sweep: Sweep) -> None:
    """Let it search steps from -1 to 4, where the recipe refuses 0."""
    sweep.space = (STEPS,)


async def searching_steps(folder: Path, *points: float, **asked: object) -> Sweeping:
    search = ScriptedSearch(points=[(point,) for point in points])
    sweeping = await Sweeping(folder=folder, search=search).ready()
    await sweeping.create(space=(RANKS,), max_trials=len(points), **asked)
    await sweeping.sweeps.update(KEY.project, KEY.id, stored_long_ago, request=Request.internal())
    return sweeping


async def test_settings_that_are_refused_fail_their_trial_and_the_sweep_goes_on(tmp_path: Path) -> None:
    sweeping = await searching_steps(tmp_path, 2, 0, 4)

    sweep = await sweeping.conclude()

    assert [(trial.state, trial.reason) for trial in sweep.trials] == [
        (SweepTrialState.MEASURED, ""),
        (SweepTrialState.FAILED, "INVALID_INPUT"),
        (SweepTrialState.MEASURED, ""),
    ]
    assert (sweep.state, len(sweeping.training.runs.all())) == (SweepState.SUCCEEDED, 3)


async def test_a_sweep_whose_every_point_is_refused_fails_with_the_reason(tmp_path: Path) -> None:
    sweeping = await searching_steps(tmp_path, 0, 0, max_parallel=2)

    sweep = await sweeping.reconcile()

    assert (sweep.state, sweep.reason, sweep.open) == (SweepState.FAILED, "ALL_TRIALS_FAILED", False)
    assert "2 failed: INVALID_INPUT" in sweep.message


@pytest.mark.parametrize("in_between", [False, True], ids=["as it was", "conducted before"])
async def test_a_cancelled_sweep_closes_also_with_a_trial_that_cannot_be_queued(
    tmp_path: Path, *, in_between: bool
) -> None:
    sweeping = await searching_steps(tmp_path, 2, 0, max_parallel=2)
    if in_between:
        await sweeping.reconcile()
    else:
        await sweeping.sweeps.update(
            KEY.project, KEY.id, lambda sweep: sweep.start_trial((0.0,), epoch=sweep.epoch), request=Request.internal()
        )
    await sweeping.crud.cancel(ADA, KEY.id, request=request())

    sweep = await sweeping.reconcile()

    assert (sweep.state, sweep.open, sweep.running) == (SweepState.CANCELLED, False, [])
    assert {run.state for run in sweeping.training.runs.all()} <= {RunState.CANCELLED}
    await sweeping.crud.delete(ADA, KEY.id, Write(request=request()))


async def test_a_winner_whose_settings_are_refused_fails_its_sweep(tmp_path: Path) -> None:
    sweeping = await searching_steps(tmp_path, 2)
    await sweeping.reconcile()
    await sweeping.train()

    def narrowed(sweep: Sweep) -> None:
        sweep.start.args["max_steps"] = 0  # type: ignore[index] # a dict underneath
        sweep.space = (RANKS,)

    await sweeping.sweeps.update(KEY.project, KEY.id, narrowed, request=Request.internal())

    sweep = await sweeping.reconcile()

    assert (sweep.state, sweep.reason, sweep.open) == (SweepState.FAILED, "WINNER_FAILED", False)
    assert "max_steps" in sweep.message
