"""Runs in the layout of MLflow's file store: a folder for each experiment, in it one for each run.

The layout is that of `mlflow.store.tracking.file_store`: `meta.yaml`, and under `params`, `metrics` and `tags` a file
for each name. A name with slashes is a path.
"""

import io
import re
import uuid
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path

from ruamel.yaml import YAML

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation
from tidemill_cli.loop.stages import EXPOSURE, WEIGHTS_BYTES, verdict_of
from tidemill_cli.run_history.folders import new_folder
from tidemill_cli.run_history.records import Points, RunRecord, Value
from tidemill_core.application import derived_id

_NOT_ALLOWED = re.compile(r"[^\w\-. :/]", re.ASCII)
_LOCAL = 4
"""SourceType.LOCAL."""
NOTES = "mlflow.note.content"
"""The tag that MLflow shows as a run's description."""


class RunStatus(IntEnum):
    """MLflow's numbers for how far a run is."""

    RUNNING = 1
    SCHEDULED = 2
    FINISHED = 3
    FAILED = 4
    KILLED = 5


_STATUS: Mapping[str, RunStatus] = {
    "queued": RunStatus.SCHEDULED,
    "running": RunStatus.RUNNING,
    "registering": RunStatus.RUNNING,
    "succeeded": RunStatus.FINISHED,
    "measured": RunStatus.FINISHED,
    "failed": RunStatus.FAILED,
    "cancelled": RunStatus.KILLED,
    "pruned": RunStatus.KILLED,
    **RunStatus.__members__,
}
"""By state of a run, of an imported one by its status; others have ended if they have a time of their end."""


def write_mlflow(run: RunRecord, folder: Path, *, project: str) -> Path:
    """Write a run below `folder`, which `mlflow ui --backend-store-uri` takes; return the run's own folder.

    Raises:
        InvalidInput: the run is there already.
        OSError: it cannot be written.

    """
    experiment, name = _experiment_id(project, run.plan), _run_id(run.id)
    home = folder / experiment / name
    with new_folder(home) as partial:
        _write_experiment(folder / experiment, experiment, run.plan)
        _write_yaml(partial / "meta.yaml", _meta(run, experiment, name, home))
        (partial / "artifacts").mkdir()
        for kind, texts in (("params", _params(run)), ("metrics", _metrics(run)), ("tags", _tags(run))):
            for key, text in sorted(texts):  # `a` before `a/b`
                _write(partial / kind, key, text)
    return home


def _experiment_id(project: str, plan: str) -> str:
    return str(uuid.UUID(derived_id("mlflow_experiment", project, plan)).int % 10**18)


def _run_id(run: str) -> str:
    """Return the id as MLflow writes ids: 32 hexadecimal digits."""
    try:
        return uuid.UUID(run).hex
    except ValueError:
        return uuid.UUID(derived_id("mlflow_run", run)).hex


def _write_experiment(folder: Path, experiment: str, plan: str) -> None:
    if not (folder / "meta.yaml").exists():
        meta = {
            "artifact_location": folder.resolve().as_uri(),
            "experiment_id": experiment,
            "lifecycle_stage": "active",
            "name": plan,
        }
        _write_yaml(folder / "meta.yaml", meta)


def _meta(run: RunRecord, experiment: str, name: str, home: Path) -> Mapping[str, object]:
    return {
        "artifact_uri": (home / "artifacts").resolve().as_uri(),
        "end_time": run.finish_ms or None,
        "entry_point_name": "",
        "experiment_id": experiment,
        "lifecycle_stage": "active",
        "run_id": name,
        "run_name": run.id,
        "run_uuid": name,
        "source_name": "",
        "source_type": _LOCAL,
        "source_version": "",
        "start_time": run.start_ms or None,
        "status": int(_status(run)),
        "tags": [],
        "user_id": "",
    }


def _status(run: RunRecord) -> RunStatus:
    return _STATUS.get(run.status or run.state, RunStatus.FINISHED if run.finish_ms else RunStatus.RUNNING)


def _params(run: RunRecord) -> Iterator[tuple[str, str]]:
    for group in (run.settings, {f"data.{name}": value for name, value in run.data.items()}):
        yield from ((name, _text(value)) for name, value in group.items() if value is not None)


def _metrics(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what each metric's file says, lines of `time value step`: steps have no time of their own here."""
    at_ms, last = run.finish_ms or run.start_ms, int(run.figures.get("steps", 0))
    curves: dict[str, Points] = {name: [(last, value)] for name, value in run.figures.items()}
    for evaluation in run.evaluations:
        curves |= {name: [(last, value)] for name, value in _measured(evaluation)}
    for name, points in {**curves, **run.curves}.items():
        yield name, "".join(f"{at_ms} {value!r} {step}\n" for step, value in points)


def _measured(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    for each in evaluation.comparisons:
        if each.cases or each.metric == WEIGHTS_BYTES:
            name = f"evaluation/{evaluation.gate or evaluation.id}/{each.case_set}/{each.metric}"
            yield f"{name}/candidate", each.candidate
            if each.metric not in (WEIGHTS_BYTES, EXPOSURE) or each.baseline:  # 0: of the live model it is not known
                yield f"{name}/difference", each.difference


def _tags(run: RunRecord) -> Iterator[tuple[str, str]]:
    known = {
        "mlflow.runName": run.id,
        NOTES: run.notes,
        "mlflow.source.type": "LOCAL",
        "tidemill.state": run.state,
        "tidemill.reason": run.reason,
        "tidemill.model_version": run.model_version,
        "tidemill.sweep": run.sweep,
        "tidemill.trial": str(run.trial or ""),
        **{f"environment.{name}": _text(value) for name, value in run.environment.items()},
        **{f"tidemill.verdict.{each.gate or each.id}": each.reason or verdict_of(each) for each in run.evaluations},
        **run.labels,
    }
    yield from ((name, text) for name, text in known.items() if text)


def _text(value: Value) -> str:
    return "" if value is None else str(value)


def _write(folder: Path, name: str, text: str) -> None:
    """Write the file of a name; characters that MLflow does not take in names become `_`."""
    parts = [part for part in _NOT_ALLOWED.sub("_", name).split("/") if part not in {"", ".", ".."}]
    if parts:
        path = folder.joinpath(*parts)
        if path.is_dir() or any(parent.is_file() for parent in path.parents):  # another name is a part of this one
            path = folder / "_".join(parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _write_yaml(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = io.StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.dump(dict(content), written)
    path.write_text(written.getvalue(), encoding="utf-8")
