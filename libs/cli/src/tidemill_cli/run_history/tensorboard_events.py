"""Runs as TensorBoard's event files: a folder for each run, with a scalar for each curve and figure."""

import json
from collections.abc import Mapping
from pathlib import Path

from tidemill_cli.run_history.folders import new_folder
from tidemill_cli.run_history.records import Points, RunRecord


def write_tensorboard(run: RunRecord, folder: Path) -> Path:
    """Write a run below `folder`, which `tensorboard --logdir` takes; return the run's own folder.

    Raises:
        InvalidInput: the run is there already.
        OSError: it cannot be written.

    """
    # Imported here because it takes a while, which no other command should pay.
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped] # noqa: PLC0415 - it ships no types

    home = folder / (run.plan or "runs") / run.id
    at_s = (run.finish_ms or run.start_ms) / 1000
    with new_folder(home) as partial, SummaryWriter(logdir=str(partial), write_to_disk=True) as writer:
        for name, points in _scalars(run).items():
            for step, value in points:
                writer.add_scalar(name, value, global_step=step, walltime=at_s)
        writer.add_text("run", _described(run), walltime=at_s)
    return home


def _scalars(run: RunRecord) -> Mapping[str, Points]:
    """Return the curves, and the figures that are none as one point at the last step."""
    last = int(run.figures.get("steps", 0))
    figures = {f"figures/{name}": [(last, value)] for name, value in run.figures.items() if name not in run.curves}
    return {**run.curves, **figures}


def _described(run: RunRecord) -> str:
    """Return settings, data and environment as Markdown that keeps its lines."""
    facts = {
        "settings": dict(run.settings),
        "data": dict(run.data),
        "environment": dict(run.environment),
        "labels": dict(run.labels),
        "notes": run.notes,
        "model_version": run.model_version,
    }
    return "".join(f"    {line}\n" for line in json.dumps(facts, indent=2).splitlines())
