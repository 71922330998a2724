"""Reads the folder of a run that MLflow's file store wrote: text files alone, each of a bounded size."""

import math
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tidemill.trainer.v1.training_pb2 import TrainingCurve
from tidemill.trainer.v1.training_service_pb2 import ImportTrainingRunRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import MAX_LABEL_LENGTH, MAX_LABELS

MAX_FILES = 2000
MAX_TEXT_BYTES = 64 * 1024
MAX_METRIC_BYTES = 64 * 1024**2
MAX_STEP = 2**31 - 1
MAX_POINTS = 256
"""Of a curve; of more, only each 2nd, 3rd, 4th... and the last are sent."""
NOTES = "mlflow.note.content"
_OF_MLFLOW = "mlflow."
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


def read_mlflow(folder: Path) -> ImportTrainingRunRequest:
    """Return what the run's folder says; its artifacts are not read.

    Tags become labels, as far as they fit; the others are parameters `tag.<name>`. Of MLflow's own tags only the notes
    are taken.

    Raises:
        InvalidInput: names the file, and what is wrong with it.

    """
    meta = _meta(folder)
    tags = dict(_texts(folder / "tags"))
    labels, further = _labels({name: text for name, text in tags.items() if not name.startswith(_OF_MLFLOW)})
    if name := str(meta.get("run_name") or ""):
        labels["run_name"] = name[:MAX_LABEL_LENGTH]
    return ImportTrainingRunRequest(
        source=f"mlflow:{meta['run_id']}",
        parameters={**dict(_texts(folder / "params")), **{f"tag.{name}": text for name, text in further.items()}},
        metrics=[_curve(name, path) for name, path in _files(folder / "metrics", max_bytes=MAX_METRIC_BYTES)],
        labels=labels,
        notes=tags.get(NOTES, ""),
        start_time=_moment(folder, meta, "start_time"),
        finish_time=_moment(folder, meta, "end_time"),
        status=_status(meta.get("status")),
    )


def _meta(folder: Path) -> dict[str, Any]:
    path = folder / "meta.yaml"
    if not path.is_file():
        message = f"{path} is missing: name the folder of one run, as mlruns/<experiment>/<run>"
        raise InvalidInput(message)
    try:
        found = YAML(typ="safe").load(StringIO(_text(path, max_bytes=MAX_TEXT_BYTES)))
    except YAMLError as error:
        message = f"{path} is not YAML"
        raise InvalidInput(message) from error
    run = found.get("run_id") or found.get("run_uuid") if isinstance(found, dict) else None
    if not isinstance(run, str):
        message = f"{path} names no run_id: name the folder of one run, as mlruns/<experiment>/<run>"
        raise InvalidInput(message)
    return {**found, "run_id": run}


def _status(found: object) -> str:
    """Return a status as a word; earlier versions of MLflow write numbers, others words."""
    return _STATUS.get(found, "") if isinstance(found, int) else str(found or "")


def _labels(tags: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tags that may be labels, beside the run's name, and the others."""
    short = [name for name, text in tags.items() if name and max(len(name), len(text)) <= MAX_LABEL_LENGTH]
    labels = {name: tags[name] for name in short[: MAX_LABELS - 1]}
    return labels, {name: text for name, text in tags.items() if name not in labels}


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for name, path in _files(folder, max_bytes=MAX_TEXT_BYTES):
        yield name, _text(path, max_bytes=MAX_TEXT_BYTES)


def _files(folder: Path, *, max_bytes: int) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder by the names that their paths are, sorted.

    Raises:
        InvalidInput: there are too many, one is a link, or one is too large.

    """
    found = sorted(islice(folder.rglob("*"), MAX_FILES + 1)) if folder.is_dir() and not folder.is_symlink() else []
    if len(found) > MAX_FILES:
        message = f"{folder} has more than {MAX_FILES} files: import a run with fewer"
        raise InvalidInput(message)
    for path in found:
        if path.is_symlink():
            message = f"{path} is a link: copy what it names into its place"
            raise InvalidInput(message)
        if path.is_file():
            if (size := path.stat().st_size) > max_bytes:
                message = f"{path} has {size} bytes; the limit is {max_bytes}"
                raise InvalidInput(message)
            yield path.relative_to(folder).as_posix(), path


def _text(path: Path, *, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            message = f"{path} has more than {max_bytes} bytes"
            raise InvalidInput(message)
        return content.decode()
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8"
        raise InvalidInput(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise InvalidInput(message) from error


def _curve(name: str, path: Path) -> TrainingCurve:
    """Return a metric of lines `time value step`, or `time value`; of one step the last, without what is not finite."""
    known = dict[int, float]()
    for number, line in enumerate(_text(path, max_bytes=MAX_METRIC_BYTES).splitlines(), start=1):
        try:
            _time, value, *steps = line.split(" ")
            step = int(*steps)
            known[step] = float(value)
        except (ValueError, TypeError) as error:
            message = f"{path}, line {number}, is not `time value step`"
            raise InvalidInput(message) from error
        if not 0 <= step <= MAX_STEP:
            message = f"{path}, line {number}, has step {step}; steps are 0 to {MAX_STEP}"
            raise InvalidInput(message)
    points = thinned([(step, known[step]) for step in sorted(known) if math.isfinite(known[step])])
    if not points:
        message = f"{path} has no finite number: remove it, to import the others"
        raise InvalidInput(message)
    return TrainingCurve(name=name, steps=[step for step, _ in points], values=[value for _, value in points])


def thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Return at most MAX_POINTS of them, evenly over the whole curve, always with the last."""
    every = -(-(len(points) - 1) // (MAX_POINTS - 1))
    return points if every <= 1 else [*points[:-1:every], points[-1]]


def _moment(folder: Path, meta: Mapping[str, Any], name: str) -> Timestamp | None:
    found = meta.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or not 0 <= found < 253_402_300_800_000:  # noqa: PLR2004 - the year 10000
        message = f"{folder / 'meta.yaml'}: {name} is no time in milliseconds"
        raise InvalidInput(message)
    stamp = Timestamp()
    stamp.FromMilliseconds(found)
    return stamp
