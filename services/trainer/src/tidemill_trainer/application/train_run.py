"""Train a run: the work of a worker, which may be killed at any point and goes on from the last checkpoint."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tidemill_kit.core.application import Clock, Request
from tidemill_kit.core.errors import (
    DependencyUnavailable,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    TidemillError,
    isolated,
)
from tidemill_trainer.application.ports import (
    Bases,
    Begun,
    Datasets,
    Fitted,
    Folders,
    Plans,
    Report,
    RunFolder,
    RunLeases,
    RunName,
    Runs,
    Stepped,
    TrainingJob,
    Trainings,
    Versions,
)
from tidemill_trainer.application.register_adapter import RegisterAdapter
from tidemill_trainer.domain.errors import RunLost, TrainingFailed
from tidemill_trainer.domain.fit import ExampleCounts
from tidemill_trainer.domain.losses import LossPoint
from tidemill_trainer.domain.model_version import ModelVersion
from tidemill_trainer.domain.training_plan import RunLimits
from tidemill_trainer.domain.training_run import OUT_OF_MEMORY, Progress, TrainingRun

POLL_INTERVAL_S = 1.0
"""How often the run is checked while its process computes: progress is written, and a cancellation seen."""

SAVING_S = 600.0
"""What a run whose every step is done is given at least, to load the last checkpoint and save the adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingNeeds:
    """What a training gets where its plan does not say, and the fewest examples that are worth one.

    `max_fruitless` is how many attempts may end, with their worker, before one has done a step more. A run warns where
    more than the share `warn_left_out` of its examples is not trained on.
    """

    memory_bytes: int
    min_examples: int
    max_fruitless: int
    warn_left_out: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """Emits RunHasSucceeded or RunHasFailed, and ModelVersionWasRegistered through RegisterAdapter.

    One worker at a time holds the lease, and each of its writes is void once another epoch has begun or the run was
    cancelled; the process that trains is then killed, because leaving its context does that.
    """

    runs: Runs
    plans: Plans
    versions: Versions
    datasets: Datasets
    bases: Bases
    folders: Folders
    trainings: Trainings
    register: RegisterAdapter
    leases: RunLeases
    needs: TrainingNeeds
    clock: Clock

    async def __call__(self, name: RunName) -> bool:
        """Train the run, and return whether nothing is left to do; False means: come again later."""
        try:
            async with self.leases.held(name) as epoch:
                return epoch is not None and await self._worked(name, epoch)
        except NotFound:
            return True
        except RunLost:
            await self._tidy(name)
            return True

    async def sweep(self, busy: Collection[RunName]) -> None:
        """Drop what other trainings than these left on local disk, with the texts of users in it."""
        await self.folders.sweep(busy)

    async def _worked(self, name: RunName, epoch: int) -> bool:
        now = self.clock.now()
        run = await self._write(name, lambda run: run.claim(epoch, now=now))
        try:
            with isolated():
                await self._train(name, run, epoch)
        except DependencyUnavailable as unavailable:
            message = f"waits for {unavailable.dependency}: {unavailable.message}"
            await self._write(name, lambda run: run.wait(message, epoch=epoch))
            return False
        except (InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Internal) as refused:
            await self._fail(name, refused, epoch)
        except TidemillError:
            raise
        except Exception:
            await self._fail(name, Internal("the training broke in its worker, whose log says why"), epoch)
            raise
        return True

    async def _train(self, name: RunName, run: TrainingRun, epoch: int) -> None:
        version = await self.register.made(run)
        if version is None:
            self._refuse_hopeless(run)
            version = await self._trained(name, run, epoch)
        now, made = self.clock.now(), version.id
        await self._write(name, lambda run: run.succeed(made, now=now, epoch=epoch))
        await self.folders.remove(name)

    def _refuse_hopeless(self, run: TrainingRun) -> None:
        if run.fruitless > self.needs.max_fruitless:
            message = (
                f"{self.needs.max_fruitless} workers ended before they had told of a further step: is their "
                "container's memory less than the run's limit?"
            )
            raise TrainingFailed(message, reason="WORKER_LOST")
        if run.dataset.examples < self.needs.min_examples:
            there, minimum = run.dataset.examples, self.needs.min_examples
            message = f"{run.dataset.id} has {there} examples to train on, {minimum} are needed"
            raise TrainingFailed(message, reason="DATASET_TOO_SMALL")

    async def _trained(self, name: RunName, run: TrainingRun, epoch: int) -> ModelVersion:
        folder = await self.folders.open(name)
        base = await self.bases.fetch(await self.versions.get(name.project, run.base))
        await self.datasets.fetch(name.project, run.dataset, folder.examples)
        progress = await self._computed(name, run, epoch, folder=folder, base=base)

        def finished(run: TrainingRun) -> None:
            run.advance(progress, epoch=epoch)
            run.register(epoch=epoch)

        return await self.register(await self._write(name, finished), folder)

    async def _computed(
        self, name: RunName, run: TrainingRun, epoch: int, *, folder: RunFolder, base: Path
    ) -> Progress:
        job = TrainingJob(
            folder=folder,
            base=base,
            base_name=run.base,
            recipe=run.recipe,
            seconds_left=_seconds_left(run),
            memory_bytes=run.limits.memory_bytes or self.needs.memory_bytes,
            memory_auto=run.limits.memory_auto,
            smaller_than=run.smaller_than,
        )
        try:
            async with self.trainings.running(job) as reports:
                return await self._follow(name, run, reports, epoch)
        except TrainingFailed as failed:
            run = await self.runs.get(name.project, name.run)
            if failed.reason != OUT_OF_MEMORY or not run.may_shrink:
                raise
        limits = await self._limits(run)
        run = await self._write(name, lambda run: run.shrink(limits=limits, epoch=epoch))
        return await self._computed(name, run, epoch, folder=folder, base=base)

    async def _limits(self, run: TrainingRun) -> RunLimits:
        """Return the limits that the run's plan has by now; its own where the plan is gone."""
        with suppress(NotFound):
            return (await self.plans.get(run.project, run.plan)).settings.limits
        return run.limits

    async def _follow(self, name: RunName, run: TrainingRun, reports: AsyncIterator[Report], epoch: int) -> Progress:
        """Write down what the process reports, at most once in LOOK_EVERY_S, and return the last of it."""
        watch = _Watch(run)
        reading = asyncio.create_task(watch.read(reports))
        begin, before = asyncio.get_running_loop().time(), run.progress.seconds
        progress, written = run.progress, (run.progress.step, run.fit)
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=POLL_INTERVAL_S)
                seconds = before + asyncio.get_running_loop().time() - begin
                progress = replace(watch.progress, seconds=seconds)
                now = (progress.step, watch.fit)
                with suppress(DependencyUnavailable):  # the training goes on, and the lease says when it must not
                    await self._check(name, progress, watch, epoch, news=now != written)
                    written = now
            reading.result()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        return replace(watch.progress, seconds=progress.seconds)

    async def _check(self, name: RunName, progress: Progress, watch: "_Watch", epoch: int, *, news: bool) -> None:
        """Write the progress where there is any; else only see whether the run is still ours."""
        if not news:
            (await self.runs.get(name.project, name.run)).refuse_unless_claimed(epoch)
            return

        def change(run: TrainingRun) -> None:
            if watch.fit and watch.examples:
                warnings = self._warnings(run, watch.examples)
                run.fitted(watch.fit, watch.examples, warnings=warnings, epoch=epoch)
            if watch.versions:
                run.begin(versions=watch.versions, epoch=epoch)
            run.advance(progress, epoch=epoch)

        await self._write(name, change)

    def _warnings(self, run: TrainingRun, examples: ExampleCounts) -> list[str]:
        if examples.left_out <= self.needs.warn_left_out:
            return []
        return [examples.described(max_length=run.recipe.args["max_length"])]

    async def _fail(self, name: RunName, refused: TidemillError, epoch: int) -> None:
        now = self.clock.now()
        reason, message = refused.reason, refused.message
        await self._write(name, lambda run: run.fail(reason=reason, message=message, now=now, epoch=epoch))
        await self.folders.clean(name)

    async def _tidy(self, name: RunName) -> None:
        """Drop what a cancelled run made; of one that another worker has, the checkpoints stay."""
        with suppress(NotFound, DependencyUnavailable):
            run = await self.runs.get(name.project, name.run)
            await (self.folders.clean(name) if run.is_in_work else self.folders.remove(name))

    async def _write(self, name: RunName, change: Callable[[TrainingRun], None]) -> TrainingRun:
        return await self.runs.update(name.project, name.run, change, request=Request.internal())


def _seconds_left(run: TrainingRun) -> float:
    left, progress = run.limits.time.total_seconds() - run.progress.seconds, run.progress
    return max(left, SAVING_S if 0 < progress.steps <= progress.step else 0.0)


class _Watch:
    """What a process has reported so far."""

    def __init__(self, run: TrainingRun) -> None:
        self.progress, self.versions = run.progress, run.versions
        self.fit, self.examples = run.fit, run.examples

    async def read(self, reports: AsyncIterator[Report]) -> None:
        """Read until the process is done; raises as it fails."""
        async for report in reports:
            match report:
                case Fitted():
                    self.fit, self.examples = report.fit, report.examples
                case Begun():
                    self.versions = report.versions
                    losses = tuple(report.losses)
                    self.progress = replace(self.progress, step=report.step, steps=report.steps, losses=losses)
                case Stepped():
                    logged = () if report.loss is None else (LossPoint(report.step, report.loss),)
                    self.progress = replace(
                        self.progress,
                        step=report.step,
                        steps=report.steps,
                        losses=self.progress.losses + logged,
                        remaining_s=report.remaining_s,
                    )
