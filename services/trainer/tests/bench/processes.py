"""Benchmark: a training by two processes against one, on the same rows: losses, time and memory.

`python -m services.trainer.tests.bench.processes [folder of a base] [steps] [method]`; without a folder a tiny base is
created, which measures overheads only. Both have the same threads together, and compute in float32, in which the sums
of a step hardly depend on how it is divided.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.ports import RunFolder, Stepped, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

ROWS, THREADS = 96, 2


@dataclass(frozen=True)
class Taken:
    """What a training took: the time until its end, and between the first step and the last."""

    losses: list[float]
    whole_s: float
    steps_s: float
    peak_bytes: int


async def trained(  # noqa: PLR0913 - what a benchmark is asked for
    base: Path, folder: Path, *, processes: int, steps: int, method: str, words: int
) -> Taken:
    """Train by so many processes."""
    run = RunFolder(path=folder)
    run.path.mkdir()
    run.examples.write_bytes(example_lines(ROWS, words=words, rejecting=method != "sft"))
    args = {"max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "seed": 7}
    job = TrainingJob(
        folder=run,
        base=base,
        base_name="base@1",
        recipe=recipe_of(method=method, lora={}, args=args),
        processes=processes,
        seconds_left=24 * 3600.0,
        memory_bytes=2**40,
    )
    settings = ProcessSettings(
        min_examples=1, checkpoint_steps=steps, device="cpu", numeric_format="float32", threads=THREADS
    )
    began = time.perf_counter()
    seen: list[tuple[float, Stepped]] = []
    async with TrainingProcesses(settings).running(job) as reports:
        seen += [(time.perf_counter(), report) async for report in reports if isinstance(report, Stepped)]
    return Taken(
        losses=[step.loss for _, step in seen if step.loss is not None],
        whole_s=time.perf_counter() - began,
        steps_s=seen[-1][0] - seen[0][0],
        peak_bytes=max(step.peak_memory_bytes for _, step in seen),
    )


def main() -> None:
    """Measure once."""
    steps = max(3, int(sys.argv[2])) if len(sys.argv) > 2 else 8
    method = sys.argv[3] if len(sys.argv) > 3 else "sft"
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        folder = Path(name)
        base, words = (Path(sys.argv[1]), 60) if len(sys.argv) > 1 else (write_base(folder / "base"), 0)
        found = [
            asyncio.run(trained(base, folder / f"run{n}", processes=n, steps=steps, method=method, words=words))
            for n in (1, 2)
        ]
    for n, taken in enumerate(found, start=1):
        sys.stdout.write(
            f"{n} of {THREADS} threads: {taken.whole_s:.1f} s in all, {taken.steps_s:.2f} s from the first of {steps} "
            f"steps to the last, {taken.peak_bytes / 1e6:.0f} MB at the peak; losses "
            f"{', '.join(f'{loss:.5f}' for loss in taken.losses)}\n"
        )
    one, two = found
    apart = max(abs(a - b) / a for a, b in zip(one.losses, two.losses, strict=True))
    sys.stdout.write(f"losses of two processes differ from those of one by {apart:.1e} of them at most (limit 1e-3)\n")


if __name__ == "__main__":
    main()
