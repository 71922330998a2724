"""Compares a sweep whose hopeless trials end early with one of the same trials in full.

Both search learning rate and rank of an adapter on a random byte-level model, by trainer's own search, conductor and
training, one trial at a time, and train their winner. Trainings run in threads of one process: the times are of steps
and measurements, not of starting processes (about five seconds a trial, the same for both).

`python -m tests.bench.sweeps`, about a minute on two free cores.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from services.trainer.tests.learning.tiny import example_lines, write_base
from services.trainer.tests.sweeps.fakes import KEY, Sweeping
from services.trainer.tests.training.fakes import FakeBases, FakeDatasets, dataset_version
from tidemill_core.application import ResourceKey
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.training import train
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrialState
from tidemill_trainer.sweeps.optuna_search import OptunaSearch
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.domain.search import Dimension, Pruning, Range
from tidemill_trainer.training.ports import Begun, Measured, Report, Stepped, TrainingJob

TRIALS, EXAMPLES, MEASUREMENTS = 12, 80, 5
SPACE = (
    Dimension(setting="args.learning_rate", range=Range(low=1e-5, high=5e-2, log=True)),
    Dimension(setting="lora.r", choices=(2.0, 4.0, 8.0)),
)
PRUNED, FULL = Pruning(keep_percent=25.0, startup_trials=3), Pruning(keep_percent=100.0)


class _Left(Exception):
    """The worker reads no more reports."""


@dataclass
class _Queued:
    """Reports of a thread, read by the event loop."""

    loop: asyncio.AbstractEventLoop
    lines: asyncio.Queue[Mapping[str, Any] | None] = field(default_factory=asyncio.Queue)
    left: bool = False

    def report(self, event: str, **facts: object) -> None:
        if self.left:
            raise _Left
        self.loop.call_soon_threadsafe(self.lines.put_nowait, {"event": event, **facts})


class Trainings:
    """Implements `ports.Trainings` by threads."""

    @asynccontextmanager
    async def running(self, job: TrainingJob) -> AsyncIterator[AsyncIterator[Report]]:
        """See `ports.Trainings.running`."""
        queued = _Queued(asyncio.get_running_loop())
        sent = Job(
            folder=str(job.folder.path),
            examples=str(job.folder.examples),
            made=str(job.folder.made),
            base=str(job.base),
            base_name=job.base_name,
            method=job.recipe.method,
            lora=job.recipe.lora,
            args=job.recipe.args,
            min_examples=8,
            checkpoint_steps=10**6,
            device="cpu",
            threads=torch.get_num_threads(),
            held_out=job.held_out,
        )
        working = asyncio.create_task(asyncio.to_thread(train, sent, cast("Any", queued)))
        working.add_done_callback(lambda _: queued.lines.put_nowait(None))
        try:
            yield _reports(queued, working)
        finally:
            queued.left = True
            await asyncio.wait([working])


async def _reports(queued: _Queued, working: asyncio.Task[None]) -> AsyncIterator[Report]:
    while (line := await queued.lines.get()) is not None:
        match line["event"]:
            case "begun":
                yield Begun(step=line["step"], steps=line["steps"], versions=line["versions"])
            case "step":
                yield Stepped(
                    step=line["step"], steps=line["steps"], loss=line["loss"], remaining_s=line["remaining_s"]
                )
            case "measured":
                yield Measured(step=line["at"], loss=line["loss"])
    working.result()


class _Examples(FakeDatasets):
    async def fetch(self, project: str, version: DatasetVersion, target: Path) -> DatasetVersion:
        self.check(project, version)
        await asyncio.to_thread(target.write_bytes, example_lines(EXAMPLES))
        return version


async def swept(folder: Path, base: Path, pruning: Pruning, *, steps: int, trials: int = TRIALS) -> tuple[Sweep, float]:
    """Return a sweep that has ended, and how many seconds it took."""
    await asyncio.to_thread(folder.mkdir)
    sweeping = Sweeping(folder=folder)
    harness, datasets = sweeping.training, _Examples()
    harness.datasets, sweeping.crud = datasets, replace(sweeping.crud, datasets=datasets)
    due = asyncio.Event()

    def notify(_sweep: ResourceKey) -> None:
        due.set()

    harness.train_run = replace(
        harness.train_run,
        trainings=Trainings(),
        datasets=datasets,
        bases=FakeBases(base),
        notify_sweep=notify,
    )
    sweeping.conduct = replace(sweeping.conduct, search=OptunaSearch())
    await harness.with_base()
    args = {"max_steps": steps, "per_device_train_batch_size": 8, "learning_rate": 1e-4}
    await harness.plan(args=args)
    harness.datasets.publish(dataset_version(examples=EXAMPLES))
    began = time.perf_counter()
    await sweeping.create(space=SPACE, max_trials=trials, measurements=MEASUREMENTS, pruning=pruning)
    while (await sweeping.reconcile()).open:
        run = sweeping.enqueued.pop(0)
        working = asyncio.create_task(harness.train(run))
        while not working.done():
            due.clear()
            waiting = asyncio.create_task(due.wait())
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not working.done():
                await sweeping.reconcile()
        await working
    return await sweeping.sweeps.get(KEY.project, KEY.id), time.perf_counter() - began


async def main() -> None:
    """Print both sweeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="of every trial")
    parser.add_argument("--hidden", type=int, default=64, help="of the model")
    given = parser.parse_args()
    train_run.POLL_INTERVAL_S = 0.05
    took = {}
    with tempfile.TemporaryDirectory(prefix="tidemill-sweeps-") as name:
        root = Path(name)
        base = write_base(root / "base", hidden=given.hidden, layers=4)
        await swept(root / "warm", base, FULL, steps=MEASUREMENTS, trials=1)
        for label, pruning in (("in full", FULL), ("with pruning", PRUNED)):
            sweep, seconds = await swept(root / label.replace(" ", "_"), base, pruning, steps=given.steps)
            took[label] = seconds
            best = sweep.best
            pruned = sum(trial.state is SweepTrialState.PRUNED for trial in sweep.trials)
            settings = sweep.searched.settings(best.point) if best else {}
            sys.stdout.write(
                f"{label}: {seconds:.1f} s, {pruned} of {len(sweep.trials)} trials pruned, winner trial {sweep.winner} "
                f"{settings} with held-out loss {best.loss if best else float('nan'):.4f}\n"
            )
            for trial in sweep.trials:
                sys.stdout.write(
                    f"  {trial.number:2} {trial.state.value:8} lr {trial.point[0]:.2e} "
                    f"r {SPACE[1].choices[int(trial.point[1])]}: {' '.join(f'{each:.3f}' for each in trial.losses)}\n"
                )
    sys.stdout.write(f"time with pruning / in full: {took['with pruning'] / took['in full']:.2f}\n")


if __name__ == "__main__":
    asyncio.run(main())
