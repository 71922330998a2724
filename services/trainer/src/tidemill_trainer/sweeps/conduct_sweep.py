"""Conducts a sweep: starts its trials, ends them early, and has the best one trained on the whole train split."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound
from tidemill_trainer.errors import DatasetVersionNotFound, RunFinished, SweepLost
from tidemill_trainer.sweeps.domain.sweep import IN_WORK, Sweep, SweepState, SweepTrial
from tidemill_trainer.sweeps.ports import Search, Sweeps
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.trial import DATASET_CHANGED
from tidemill_trainer.training.ports import Plans, Runs

BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
ALL_TRIALS_FAILED = "ALL_TRIALS_FAILED"
WINNER_FAILED = "WINNER_FAILED"
ENDED_BY_SWEEP = "ended by its sweep"
PLAN_PAUSED = "waits until its plan is resumed"
_OF_DATASET = frozenset({DATASET_CHANGED, DatasetVersionNotFound.reason})
"""Reasons of a trial that no other trial of the sweep can do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConductSweep:
    """Reconciles a sweep with its runs, all decided from what is stored.

    A trial is added to the sweep before its run is queued, and the run's id derives from the sweep: after a crash in
    between, the run is queued once. Writes of an earlier epoch of the sweep's lease are refused.
    """

    sweeps: Sweeps
    runs: Runs
    plans: Plans
    search: Search
    max_failed: int
    """Failed trials after which a sweep ends, as long as none was measured."""
    clock: Clock
    enqueue_run: Callable[[ResourceKey], None]
    again: Callable[[Sweep], Awaitable[None]]
    """Starts a sweep once more that a plan started, and whose dataset version lost examples."""

    async def __call__(self, key: ResourceKey, *, epoch: int) -> None:
        """Do what there is to do now, as the holder of this epoch of the sweep's lease."""
        with suppress(NotFound, SweepLost):
            sweep = await self._write(key, lambda sweep: sweep.claim(epoch))
            sweep = await self._observed(key, sweep, epoch)
            if sweep.state is SweepState.RUNNING:
                sweep = await self._search(key, sweep, epoch)
            if sweep.state is SweepState.TRAINING_WINNER:
                sweep = await self._train_winner(key, sweep, epoch)
            if sweep.state not in IN_WORK:
                await self._close(key, sweep, epoch)

    async def _search(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        now = self.clock.now()
        spent = sweep.budget.is_spent(sweep.seconds)
        if (end := self._end(sweep, spent=spent)) is not None:
            reason, message = end
            return await self._write(key, lambda s: s.fail(reason=reason, message=message, now=now, epoch=epoch))
        if spent:
            message = "the budget is spent: what was measured so far decides"
            sweep = await self._write(key, lambda s: s.wait(message, epoch=epoch))
            sweep = await self._stop_trials(key, sweep, epoch)
        else:
            for trial in await self.search.hopeless(sweep):
                await self._end_run(sweep, trial.run, lambda run: run.prune(now=now))
        sweep = await self._observed(key, sweep, epoch)
        if not spent:
            if await self._is_paused(sweep):
                return await self._waits(key, sweep, epoch)
            sweep = await self._queue_missing(key, sweep, epoch)
            while self._may_start(sweep):
                sweep = await self._queue_missing(key, await self._start_trial(key, sweep, epoch), epoch)
        if sweep.running:
            return sweep
        if sweep.best is None:
            reason, message = self._without_winner(sweep, spent=spent)
            return await self._write(key, lambda s: s.fail(reason=reason, message=message, now=now, epoch=epoch))
        return await self._write(key, lambda s: s.choose(epoch=epoch))

    async def _start_trial(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        point = await self.search.suggest(sweep)
        return await self._write(key, lambda s: s.start_trial(point, epoch=epoch))

    def _end(self, sweep: Sweep, *, spent: bool) -> tuple[str, str] | None:
        """Return reason and message of an end before all trials are done."""
        for trial in sweep.failed:
            if trial.reason in _OF_DATASET:
                message = (
                    f"trial {trial.number} could not read {sweep.dataset.id} as it was when the sweep was created: "
                    "create another sweep on what is there; one that a plan started starts once more by itself"
                )
                return trial.reason, message
        if not spent and not sweep.running and self._fails_throughout(sweep):
            return ALL_TRIALS_FAILED, _described(sweep)
        return None

    def _fails_throughout(self, sweep: Sweep) -> bool:
        """Return whether so many trials failed before one was measured that no further ones start."""
        return not sweep.measured and len(sweep.failed) >= min(self.max_failed, sweep.max_trials)

    def _may_start(self, sweep: Sweep) -> bool:
        more = len(sweep.running) < sweep.max_parallel and len(sweep.trials) < sweep.trial_count
        return more and not self._fails_throughout(sweep)

    @staticmethod
    def _without_winner(sweep: Sweep, *, spent: bool) -> tuple[str, str]:
        if spent:
            message = "the budget was spent before a trial came to its end: raise it, or train fewer steps"
            failed = [trial.reason for trial in sweep.failed if trial.reason != "CANCELLED"]
            return (
                BUDGET_EXHAUSTED,
                f"{message}; {len(failed)} failed: {', '.join(sorted({*failed}))}" if failed else message,
            )
        return ALL_TRIALS_FAILED, _described(sweep)

    async def _train_winner(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        run = (await self.runs.get_many(key.project, [sweep.run])).get(sweep.run)
        now = self.clock.now()
        if run is None:
            if await self._is_paused(sweep):
                return await self._waits(key, sweep, epoch)
            try:
                await self._queue(sweep.queued_winner(now=now))
            except InvalidInput as refused:
                why = f"the settings of trial {sweep.winner} are refused: {refused.message}"
                return await self._write(key, lambda s: s.fail(reason=WINNER_FAILED, message=why, now=now, epoch=epoch))
            return sweep
        if run.state is RunState.SUCCEEDED:
            made = run.model_version
            return await self._write(key, lambda s: s.succeed(made, now=now, epoch=epoch))
        if run.is_in_work:
            return sweep
        message = f"run {run.id} of the winner is {run.state.value}: {run.reason}"
        return await self._write(key, lambda s: s.fail(reason=WINNER_FAILED, message=message, now=now, epoch=epoch))

    async def _is_paused(self, sweep: Sweep) -> bool:
        """Return whether its plan starts no runs; one that was deleted holds none of its sweeps up."""
        try:
            return (await self.plans.get(sweep.project, sweep.plan)).settings.paused
        except NotFound:
            return False

    async def _waits(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        """Record that it starts nothing until its plan is resumed; what runs goes on."""
        if sweep.message == PLAN_PAUSED:
            return sweep
        return await self._write(key, lambda s: s.wait(PLAN_PAUSED, epoch=epoch))

    async def _close(self, key: ResourceKey, sweep: Sweep, epoch: int) -> None:
        """Cancel what is in work. A run that was never queued is, so that no slower worker queues it afterwards.

        One whose settings the recipe refuses, no worker can queue.
        """
        sweep = await self._stop_trials(key, sweep, epoch)
        if sweep.run and sweep.state is not SweepState.SUCCEEDED:
            winner = await self._ended_winner(key, sweep)
            if winner is not None and winner.is_in_work:
                return  # it registers its version, which the sweep then names
            if winner is not None and (made := winner.model_version):
                sweep = await self._write(key, lambda s: s.record_winner(made, epoch=epoch))
        sweep = await self._observed(key, sweep, epoch)
        if not sweep.running:
            if sweep.state is SweepState.FAILED and sweep.reason == DATASET_CHANGED:
                await self.again(sweep)
            await self._write(key, lambda s: s.close(epoch=epoch))

    async def _ended_winner(self, key: ResourceKey, sweep: Sweep) -> TrainingRun | None:
        """Return the winner's run, cancelled unless it has ended or registers already; None where it cannot be."""
        if sweep.run not in await self.runs.get_many(key.project, [sweep.run]):
            with suppress(InvalidInput):
                await self._queue(sweep.queued_winner(now=self.clock.now()), cancelled=True)
        await self._cancel(sweep, sweep.run)
        return (await self.runs.get_many(key.project, [sweep.run])).get(sweep.run)

    async def _stop_trials(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        sweep = await self._queue_missing(key, sweep, epoch, cancelled=True)
        for trial in sweep.running:
            await self._cancel(sweep, trial.run)
        return sweep

    async def _cancel(self, sweep: Sweep, run: str) -> None:
        now = self.clock.now()
        await self._end_run(sweep, run, lambda run: run.cancel(now=now, message=ENDED_BY_SWEEP))

    async def _end_run(self, sweep: Sweep, run: str, end: Callable[[TrainingRun], None]) -> None:
        with suppress(NotFound, RunFinished):  # one that registers its version has ended for the sweep
            await self.runs.update(sweep.project, run, end, request=Request.internal())

    async def _observed(self, key: ResourceKey, sweep: Sweep, epoch: int) -> Sweep:
        runs: Mapping[str, TrainingRun] = await self.runs.get_many(key.project, [trial.run for trial in sweep.running])
        return await self._write(key, lambda sweep: sweep.observe(runs, epoch=epoch))

    async def _queue_missing(self, key: ResourceKey, sweep: Sweep, epoch: int, *, cancelled: bool = False) -> Sweep:
        """Queue the runs of trials that have none, new ones or after a crash; one with refused settings fails."""
        known = await self.runs.get_many(sweep.project, [trial.run for trial in sweep.running])
        for trial in sweep.running:
            if trial.run not in known:
                try:
                    run = sweep.queued(trial, now=self.clock.now())
                except InvalidInput as refused:
                    sweep = await self._refused(key, trial, refused.reason, epoch)
                else:
                    await self._queue(run, cancelled=cancelled)
        return sweep

    async def _refused(self, key: ResourceKey, trial: SweepTrial, reason: str, epoch: int) -> Sweep:
        return await self._write(key, lambda sweep: sweep.refuse_trial(trial.number, reason=reason, epoch=epoch))

    async def _queue(self, run: TrainingRun, *, cancelled: bool = False) -> None:
        if cancelled:
            run.cancel(now=self.clock.now(), message=ENDED_BY_SWEEP)
        with suppress(AlreadyExists):
            await self.runs.add(run, request=Request(id=f"queue:{run.id}", digest=run.id))
        if not cancelled:
            self.enqueue_run(ResourceKey(project=run.project, id=run.id))

    async def _write(self, key: ResourceKey, change: Callable[[Sweep], None]) -> Sweep:
        return await self.sweeps.update(key.project, key.id, change, request=Request.internal())


def _described(sweep: Sweep) -> str:
    reasons = ", ".join(sorted({trial.reason for trial in sweep.failed}))
    return (
        f"no trial came to its end; {len(sweep.failed)} failed: {reasons}: see `tidemill training show` of their runs"
    )
