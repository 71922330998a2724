"""Trains a run; a worker may be killed at any point and another one resumes from the last checkpoint."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from tidemill_core.application import Clock, Request, Requeue, ResourceKey
from tidemill_core.errors import (
    DependencyUnavailable,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    TidemillError,
    isolated,
)
from tidemill_trainer.errors import RunLost, TrainingFailed
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.training.current_limits import current_limits
from tidemill_trainer.training.domain.fit import ExampleCounts
from tidemill_trainer.training.domain.memorisation import canary_origin
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.run import OUT_OF_MEMORY, RunState, TrainingRun
from tidemill_trainer.training.domain.trial import DATASET_CHANGED
from tidemill_trainer.training.fetch_models import FetchModels
from tidemill_trainer.training.judge_answers import JudgeAnswers
from tidemill_trainer.training.ports import (
    Bases,
    Datasets,
    Folders,
    Plans,
    References,
    Report,
    RunFolder,
    Runs,
    TrainingJob,
    Trainings,
)
from tidemill_trainer.training.register_trained import RegisterTrained
from tidemill_trainer.training.run_queue import RunQueue
from tidemill_trainer.training.run_reports import RunReports

POLL_INTERVAL_S = 1.0
"""Interval at which progress is stored and a cancellation is checked."""

SPENT_INTERVAL_S = 5.0
"""Interval at which a trial's computing time is stored without other news: its sweep has a budget."""

SAVING_S = 600.0
"""Minimum time for a run after its last step, to load the last checkpoint and save the adapter."""


class _HasNothing(Exception):
    """A run was begun when it was over, and was retried before that was found: it has no capacity."""


class _GivesWay(Exception):
    """A run stops for another one of higher priority, with what it has computed."""

    def __init__(self, other: TrainingRun, progress: Progress) -> None:
        super().__init__(other.id)
        self.other, self.progress = other, progress


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingNeeds:
    """Defaults and thresholds of trainings.

    `max_fruitless` is how many attempts may end with their worker before one makes a further step. A run has a warning
    if more than the share `warn_left_out` of its examples is skipped.
    """

    min_examples: int
    max_fruitless: int
    max_processes: int = 1
    warn_left_out: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """Emits RunHasSucceeded or RunHasFailed, and ModelVersionWasRegistered through RegisterTrained.

    Writes of an earlier epoch of the run's lease or for a cancelled run are refused; leaving the process's context then
    kills it.
    """

    runs: Runs
    plans: Plans
    references: References
    datasets: Datasets
    bases: Bases
    folders: Folders
    trainings: Trainings
    register: RegisterTrained
    judging: JudgeAnswers
    needs: TrainingNeeds
    queue: RunQueue
    clock: Clock
    notify_sweep: Callable[[ResourceKey], None] = lambda _sweep: None
    """Called when a run of a sweep was measured or ended."""
    on_gave_way: Callable[[TrainingRun, TrainingRun], None] = lambda _run, _to: None
    """Called when a run gave way to another."""

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Train the run as the holder of this epoch of its lease."""
        self.queue.leave(key)
        try:
            return await self._attempt(key, epoch)
        except NotFound:
            return None
        except _HasNothing:
            return Requeue(after=timedelta(0))
        except RunLost:
            await self._tidy(key)
            return None
        except asyncio.CancelledError:  # the lease was lost, or the process stops
            await self.folders.clean(key)
            raise

    async def _attempt(self, key: ResourceKey, epoch: int) -> Requeue | None:
        now = self.clock.now()

        def claim(run: TrainingRun) -> None:
            run.claim(epoch, now=now)
            if self.queue.capacity.has_nothing(key):
                raise _HasNothing

        run = await self._write(key, claim)
        try:
            with isolated(), self.queue.working(key, run):
                await self._train(key, run, epoch)
        except _GivesWay as gives_way:
            return await self._give_way(key, gives_way, epoch)
        except DependencyUnavailable as unavailable:
            message = f"waits for {unavailable.dependency}: {unavailable.message}"
            waiting = await self._write(key, lambda run: run.wait(message, epoch=epoch))
            if waiting.state is RunState.RUNNING:  # what is made is not to be registered yet
                await self.folders.clean(key)
            return Requeue()
        except (InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Internal) as refused:
            await self._fail(key, run, refused, epoch)
        except TidemillError:
            raise
        except Exception:
            await self._fail(key, run, Internal("the training worker failed; see its log"), epoch)
            raise
        self._notify(run)
        return None

    async def _give_way(self, key: ResourceKey, gives_way: _GivesWay, epoch: int) -> Requeue:
        other, progress, now = gives_way.other, gives_way.progress, self.clock.now()
        message = f"gave way to run {other.id} of priority {other.priority}; it goes on from its last checkpoint"

        def change(run: TrainingRun) -> None:
            run.advance(progress, epoch=epoch)
            run.give_way(message, now=now, epoch=epoch)

        self.on_gave_way(await self._write(key, change), other)
        await self.folders.clean(key)
        return Requeue(after=timedelta(0), hands_on=True)

    def _notify(self, run: TrainingRun) -> None:
        if run.sweep:
            self.notify_sweep(ResourceKey(project=run.project, id=run.sweep))

    async def _train(self, key: ResourceKey, run: TrainingRun, epoch: int) -> None:
        if run.trial:
            await self._measure(key, run, epoch)
            return
        version = await self.register.made(run)
        if version is None:
            self._refuse_hopeless(run)
            version = await self._trained(key, run, epoch)
        now, made = self.clock.now(), version.id
        await self._write(key, lambda run: run.succeed(made, now=now, epoch=epoch))
        await self.folders.remove(key)

    async def _measure(self, key: ResourceKey, run: TrainingRun, epoch: int) -> None:
        """Train a trial, which leaves nothing but its losses."""
        self._refuse_hopeless(run)
        folder = await self.folders.open(key)
        base = await self._base(key, run)
        if await self.datasets.fetch(key.project, run.dataset, folder.examples) != run.dataset:
            message = (
                f"examples were erased from {run.dataset.id}, so that trials cannot be compared: start a new sweep"
            )
            raise TrainingFailed(message, reason=DATASET_CHANGED)
        progress = await self._computed(key, run, epoch, folder=folder, base=base)
        now = self.clock.now()
        await self._write(key, lambda run: run.measure(progress, now=now, epoch=epoch))
        await self.folders.remove(key)

    def _refuse_hopeless(self, run: TrainingRun) -> None:
        if run.fruitless > self.needs.max_fruitless:
            message = (
                f"{self.needs.max_fruitless} training workers exited without progress: check that their "
                "container's memory exceeds the run's limit"
            )
            raise TrainingFailed(message, reason="WORKER_LOST")
        if run.processes > self.needs.max_processes:
            message = (
                f"the run has {run.processes} processes; this worker takes {self.needs.max_processes} "
                "(TRAINER_RUN_MAX_PROCESSES): retry it where more are, or start a run of a plan with fewer"
            )
            raise TrainingFailed(message, reason="TOO_MANY_PROCESSES")
        if why := self.queue.capacity.refusal(run.processes):
            raise TrainingFailed(why, reason="TOO_MANY_PROCESSES")
        if run.dataset.examples < self.needs.min_examples:
            there, minimum = run.dataset.examples, self.needs.min_examples
            message = f"{run.dataset.id} has {there} training examples; at least {minimum} are needed"
            raise TrainingFailed(message, reason="DATASET_TOO_SMALL")

    async def _trained(self, key: ResourceKey, run: TrainingRun, epoch: int) -> ModelVersion:
        folder = await self.folders.open(key)
        base = await self._base(key, run)
        dataset = await self.datasets.fetch(key.project, run.dataset, folder.examples)
        if dataset != run.dataset:
            folder, run = await self._started_over(key, dataset, epoch)
        scores = run.recipe.makes_reward_model
        held_out = scores and await self.datasets.fetch_held_out(key.project, run.dataset.id, folder.held_out)
        progress = await self._computed(key, run, epoch, folder=folder, base=base, measures_accuracy=held_out)

        def finished(run: TrainingRun) -> None:
            run.advance(progress, epoch=epoch)
            run.register(epoch=epoch)

        return await self.register(await self._write(key, finished), folder, base=base.version)

    async def _base(self, key: ResourceKey, run: TrainingRun) -> "_Base":
        version = await self.references.version(key.project, run.base, field="base")
        return _Base(folder=await self.bases.fetch(version), version=version)

    async def _started_over(
        self, key: ResourceKey, dataset: DatasetVersion, epoch: int
    ) -> tuple[RunFolder, TrainingRun]:
        """Begin anew with what is left of a dataset version; what was computed from erased examples goes first."""
        await self.folders.remove(key)
        folder = await self.folders.open(key)
        run = await self._write(key, lambda run: run.start_over(dataset, epoch=epoch))
        self._refuse_hopeless(run)
        await self.datasets.fetch(key.project, dataset, folder.examples)
        return folder, run

    async def _computed(  # noqa: PLR0913 - all of it is of one training
        self,
        key: ResourceKey,
        run: TrainingRun,
        epoch: int,
        *,
        folder: RunFolder,
        base: "_Base",
        measures_accuracy: bool = False,
    ) -> Progress:
        fetched = {base.version.id: base.folder}
        models = FetchModels(references=self.references, bases=self.bases, fetched=fetched)
        job = TrainingJob(
            folder=folder,
            base=base.folder,
            base_name=run.base,
            recipe=run.recipe,
            seconds_left=_seconds_left(run),
            memory_bytes=self.queue.memory_of(key, run),
            processes=run.processes,
            devices=self.queue.capacity.devices_of(key),
            memory_auto=run.limits.memory_auto,
            smaller_than=run.smaller_than,
            held_out=run.trial.held_out if run.trial else None,
            reward_models=await models.reward_models(run),
            teacher=await models.teacher(run),
            measures_accuracy=measures_accuracy,
            canary_origin=canary_origin(run.project, run.plan),
            judging=await self.judging.of(run, folder),
        )
        try:
            async with self.trainings.running(job) as reports:
                return await self._follow(key, RunReports(run, base_digest=base.version.digest), reports, epoch)
        except TrainingFailed as failed:
            run = await self.runs.get(key.project, key.id)
            if failed.reason != OUT_OF_MEMORY or not run.may_shrink:
                raise TrainingFailed(self.queue.explained(run, failed), reason=failed.reason) from failed
        limits = await current_limits(self.plans, run)
        run = await self._write(key, lambda run: run.shrink(limits=limits, epoch=epoch))
        return await self._computed(key, run, epoch, folder=folder, base=base, measures_accuracy=measures_accuracy)

    async def _follow(
        self, key: ResourceKey, watch: RunReports, reports: AsyncIterator[Report], epoch: int
    ) -> Progress:
        """Store the process's reports, at most once per POLL_INTERVAL_S; return the last progress.

        What it computed is stored also where it failed, or waits for a judge, without a step.
        """
        run, reading = watch.run, asyncio.create_task(watch.read(reports))
        begin, before = asyncio.get_running_loop().time(), run.progress.seconds
        progress, written = run.progress, (run.progress.step, run.progress.held_out_losses, run.fit)
        stored_s, stopping = before, _Stopping(self.queue, key)
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=POLL_INTERVAL_S)
                seconds = before + asyncio.get_running_loop().time() - begin
                progress = replace(watch.progress, seconds=seconds)
                if watch.estimated_bytes:
                    self.queue.capacity.estimated(key, watch.estimated_bytes)
                now = (progress.step, progress.held_out_losses, watch.fit)
                news = now != written or (run.trial is not None and seconds - stored_s >= SPENT_INTERVAL_S)
                with suppress(DependencyUnavailable):  # the training continues as long as its lease holds
                    await self._check(key, progress, watch, epoch, news=news)
                    written, stored_s = now, seconds if news else stored_s
                other = None if reading.done() else await stopping.stops_for(watch, seconds, self.clock.now())
                if other and not reading.done():  # else it is known how it ends
                    raise _GivesWay(other, progress)
            reading.result()
        except (TrainingFailed, DependencyUnavailable):
            with suppress(DependencyUnavailable):
                await self._check(key, progress, watch, epoch, news=progress.seconds > stored_s)
            raise
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        return replace(watch.progress, seconds=progress.seconds)

    async def _check(self, key: ResourceKey, progress: Progress, watch: RunReports, epoch: int, *, news: bool) -> None:
        """Store new progress; without any, check that this worker still owns the run."""
        if not news:
            (await self.runs.get(key.project, key.id)).refuse_unless_claimed(epoch)
            return

        def change(run: TrainingRun) -> None:
            if watch.fit and watch.examples:
                warnings = self._warnings(run, watch.examples)
                run.fitted(watch.fit, watch.examples, warnings=warnings, epoch=epoch)
            if watch.versions:
                run.begin(versions=watch.versions, base_digest=watch.base_digest, epoch=epoch)
            run.advance(progress, epoch=epoch)

        run = await self._write(key, change)
        if len(progress.held_out_losses) > watch.notified:
            watch.notified = len(progress.held_out_losses)
            self._notify(run)

    def _warnings(self, run: TrainingRun, examples: ExampleCounts) -> list[str]:
        if examples.left_out <= self.needs.warn_left_out:
            return []
        return [examples.described(max_length=run.recipe.args["max_length"])]

    async def _fail(self, key: ResourceKey, run: TrainingRun, refused: TidemillError, epoch: int) -> None:
        now = self.clock.now()
        reason, message = refused.reason, refused.message
        await self._write(key, lambda run: run.fail(reason=reason, message=message, now=now, epoch=epoch))
        await (self.folders.remove(key) if run.trial else self.folders.clean(key))

    async def _tidy(self, key: ResourceKey) -> None:
        """Delete the folder of a run that is over; if it may go on, here or elsewhere, keep the checkpoints."""
        with suppress(NotFound, DependencyUnavailable):
            run = await self.runs.get(key.project, key.id)
            may_go_on = run.is_in_work or (run.state is RunState.FAILED and not run.trial)
            await (self.folders.clean(key) if may_go_on else self.folders.remove(key))

    async def _write(self, key: ResourceKey, change: Callable[[TrainingRun], None]) -> TrainingRun:
        return await self.runs.update(key.project, key.id, change, request=Request.internal())


def _seconds_left(run: TrainingRun) -> float:
    left, progress = run.limits.time.total_seconds() - run.progress.seconds, run.progress
    return max(left, SAVING_S if 0 < progress.steps <= progress.step else 0.0)


class _Stopping:
    """Stops a run for one of higher priority, where it loses least: at its next checkpoint, within bounds."""

    def __init__(self, queue: RunQueue, key: ResourceKey) -> None:
        self._queue, self._key = queue, key
        self._since: datetime | None = None
        self._saved = 0

    async def stops_for(self, watch: RunReports, computed_s: float, now: datetime) -> TrainingRun | None:
        """Return the run that it stops for now; None if it goes on."""
        progress, other = watch.progress, None
        if watch.may_stop:
            other = await self._queue.ahead_of(self._key, computed_s=computed_s)
        if other is None:
            self._since = None
            return None
        if self._since is None:
            self._since, self._saved = now, watch.saved
        lost_nothing = progress.step == watch.saved or watch.saved > self._saved
        return other if lost_nothing or now - self._since >= self._queue.rules.checkpoint else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """A base on local disk."""

    folder: Path
    version: ModelVersion
