"""Search by Optuna, restored from a sweep's trials each time: no study is kept."""

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from tidemill_trainer.sweeps.domain.space import Point
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrial, SweepTrialState
from tidemill_trainer.training.domain.search import Dimension

if TYPE_CHECKING:
    import optuna

    Distributions: TypeAlias = dict[str, optuna.distributions.BaseDistribution]

STARTUP_TRIALS = 10
"""Trials at random before the estimator suggests; of a short sweep a third of it."""
DIVERGED = "DIVERGED"
NEVER = 100.0
SUGGESTIONS = 5
"""Suggestions that are asked for until one was not tried; then any such point is taken."""
APART = 1_000_003
"""Between the seeds of these."""


class OptunaSearch:
    """Implements `ports.Search`.

    Suggestions are those of a tree-structured Parzen estimator (Bergstra et al., Algorithms for hyper-parameter
    optimization, 2011), which takes running trials for bad ones, so that trials side by side differ. A trial ends early
    if its lowest loss so far is above a percentile of the others' at the same measurement (Golovin et al., Google
    Vizier, 2017).
    """

    async def suggest(self, sweep: Sweep) -> Point:
        """See `Search.suggest`."""
        if not sweep.trials and (start := sweep.searched.start_point()) is not None:
            return start
        return await asyncio.to_thread(_untried, sweep)

    async def hopeless(self, sweep: Sweep) -> list[SweepTrial]:
        """See `Search.hopeless`."""
        if sweep.pruning.keep_percent >= NEVER or not any(trial.losses for trial in sweep.running):
            return []
        return await asyncio.to_thread(_hopeless, sweep)


def _untried(sweep: Sweep) -> Point:
    """Return a suggestion that was not tried: what is trained twice says nothing new."""
    tried = {trial.point for trial in sweep.trials}
    point, again = _suggest(sweep, 0), 1
    while point in tried and again < SUGGESTIONS:
        point, again = _suggest(sweep, again), again + 1
    return point if point not in tried else sweep.searched.untried(tried) or point


def _suggest(sweep: Sweep, again: int) -> Point:
    space = _distributions(sweep)
    asked = _study(sweep, space, again).ask(space)
    return tuple(float(asked.params[name]) for name in space)


def _hopeless(sweep: Sweep) -> list[SweepTrial]:
    space = _distributions(sweep)
    study = _study(sweep, space)
    return [
        trial for trial in sweep.running if trial.losses and study.pruner.prune(study, _restored(sweep, trial, space))
    ]


def _study(sweep: Sweep, space: "Distributions", again: int = 0) -> "optuna.Study":
    import optuna  # noqa: PLC0415 - half a second of imports that only sweeps need

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    startup = max(1, min(STARTUP_TRIALS, sweep.max_trials // 3))
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(
            seed=sweep.seed + len(sweep.trials) + again * APART, n_startup_trials=startup, constant_liar=True
        ),
        pruner=optuna.pruners.PercentilePruner(
            sweep.pruning.keep_percent,
            n_startup_trials=sweep.pruning.startup_trials,
            n_warmup_steps=sweep.pruning.warmup_measurements,
        ),
    )
    study.add_trials([_restored(sweep, trial, space) for trial in sweep.trials])
    return study


def _restored(sweep: Sweep, trial: SweepTrial, space: "Distributions") -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415 - ditto

    states = {
        SweepTrialState.RUNNING: TrialState.RUNNING,
        SweepTrialState.MEASURED: TrialState.COMPLETE if trial.losses else TrialState.FAIL,
        SweepTrialState.PRUNED: TrialState.PRUNED,
        SweepTrialState.FAILED: TrialState.FAIL,
    }
    state = states[trial.state]
    if trial.reason == DIVERGED:
        state = TrialState.PRUNED  # a bad one, where FAIL is passed over: else it is suggested as often as before
    return create_trial(
        state=state,
        value=trial.loss if state is TrialState.COMPLETE else None,
        params=dict(zip(space, map(_param, sweep.space, trial.point), strict=True)),
        distributions=space,
        intermediate_values=dict(enumerate(trial.losses)),
    )


def _param(dimension: Dimension, number: float) -> float:
    return int(number) if dimension.choices else number


def _distributions(sweep: Sweep) -> "Distributions":
    from optuna.distributions import (  # noqa: PLC0415 - ditto
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: Distributions = {}
    for dimension in sweep.space:
        if dimension.range is None:
            found[dimension.setting] = CategoricalDistribution(tuple(range(len(dimension.choices))))
        elif dimension.is_whole(sweep.start.method):
            low, high = int(dimension.range.low), int(dimension.range.high)
            found[dimension.setting] = IntDistribution(low, high, log=dimension.range.log)
        else:
            found[dimension.setting] = FloatDistribution(
                dimension.range.low, dimension.range.high, log=dimension.range.log
            )
    return found
