from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.sweeps.fakes import RANKS, RATES, Sweeping
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrial, SweepTrialState
from tidemill_trainer.sweeps.optuna_search import OptunaSearch
from tidemill_trainer.training.domain.search import Dimension, Pruning, Range

MEASURED, RUNNING = SweepTrialState.MEASURED, SweepTrialState.RUNNING


@pytest.fixture
async def sweep(tmp_path: Path) -> Sweep:
    sweeping = await Sweeping(folder=tmp_path).ready()
    return await sweeping.create(space=(RATES, RANKS), max_trials=30, pruning=Pruning(startup_trials=2))


def trial(number: int, *losses: float, state: SweepTrialState = MEASURED, **more: Any) -> SweepTrial:  # noqa: ANN401 - fields of a trial
    return SweepTrial(number=number, run=f"r{number}", **({"point": (1e-3, 1.0)} | more), state=state, losses=losses)


async def test_the_first_trial_is_the_plan_itself(sweep: Sweep) -> None:
    assert await OptunaSearch().suggest(sweep) == (2e-4, 1.0)


async def test_suggestions_depend_on_the_stored_trials_alone(sweep: Sweep) -> None:
    sweep.trials = (trial(1, 2.0, 1.5), trial(2, 2.0, state=RUNNING), trial(3, state=SweepTrialState.FAILED))

    first, again = await OptunaSearch().suggest(sweep), await OptunaSearch().suggest(sweep)

    assert first == again
    assert 1e-4 <= first[0] <= 1e-2
    assert first[1] in {0.0, 1.0, 2.0}
    sweep.trials = (*sweep.trials, trial(4, state=RUNNING, point=first))
    assert await OptunaSearch().suggest(sweep) != first


async def test_no_point_is_suggested_twice_while_there_are_others(sweep: Sweep) -> None:
    sweep = replace(sweep, space=(RANKS, Dimension(setting="args.warmup_steps", range=Range(low=0, high=2))))
    assert sweep.trial_count == 9

    for number in range(1, 10):
        point = await OptunaSearch().suggest(sweep)
        sweep.trials = (*sweep.trials, trial(number, 1.0, point=point))

    assert len({each.point for each in sweep.trials}) == 9


async def test_what_diverged_is_suggested_less_often(sweep: Sweep) -> None:
    rates = [10 ** (-4 + each / 8) for each in range(16)]
    good = [trial(number, 1.0 + number / 100, point=(rate, 1.0)) for number, rate in enumerate(rates[:8], start=1)]
    bad = [
        trial(number, state=SweepTrialState.FAILED, reason="DIVERGED", point=(rate, 1.0))
        for number, rate in enumerate(rates[8:], start=9)
    ]
    sweep.trials = (*good, *bad)

    suggested = []
    for seed in range(8):
        sweep.seed = 100 * seed
        suggested.append((await OptunaSearch().suggest(sweep))[0])

    assert sum(rate < 1e-3 for rate in suggested) >= 7


async def test_suggestions_come_nearer_to_what_did_well(sweep: Sweep) -> None:
    points = [10 ** (-4 + each / 8) for each in range(16)]
    sweep.trials = tuple(
        trial(number, abs(rate - 1e-3) * 100, point=(rate, 1.0)) for number, rate in enumerate(points, start=1)
    )

    rates = []
    for seed in range(8):
        sweep.seed = 100 * seed
        rates.append((await OptunaSearch().suggest(sweep))[0])

    near = [rate for rate in rates if 3e-4 < rate < 3e-3]
    assert len(near) > len(rates) / 2


async def test_a_trial_worse_than_the_median_at_the_same_measurement_is_hopeless(sweep: Sweep) -> None:
    ended = (trial(1, 2.0, 1.0), trial(2, 2.2, 1.2), trial(3, 2.4, 1.4))
    sweep.trials = (*ended, trial(4, 2.3, state=RUNNING), trial(5, 2.1, state=RUNNING), trial(6, state=RUNNING))

    assert [each.number for each in await OptunaSearch().hopeless(sweep)] == [4]


@pytest.mark.parametrize(
    "pruning",
    [
        Pruning(keep_percent=100.0, startup_trials=1),
        Pruning(startup_trials=4),
        Pruning(startup_trials=1, warmup_measurements=1),
    ],
    ids=["never", "too few at their end", "not yet"],
)
async def test_a_bad_trial_goes_on_where_the_rule_says_so(sweep: Sweep, pruning: Pruning) -> None:
    sweep = replace(sweep, pruning=pruning)
    sweep.trials = (trial(1, 2.0, 1.0), trial(2, 2.2, 1.2), trial(3, 9.0, state=RUNNING))

    assert await OptunaSearch().hopeless(sweep) == []
