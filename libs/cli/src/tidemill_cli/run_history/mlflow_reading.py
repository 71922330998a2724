"""Reads the folder of a run that MLflow's file store wrote: text files alone, each of a bounded size."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from ruamel.yaml.error import YAMLError

from tidemill.trainer.v1.training_pb2 import TrainingCurve
from tidemill.trainer.v1.training_service_pb2 import ImportTrainingRunRequest
from tidemill_cli.loop.bounds import OutOfBounds, parsed
from tidemill_cli.run_history.mlflow_folder import NOTES, RunStatus
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import MAX_LABEL_LENGTH, MAX_LABELS

MAX_FILES = 2000
MAX_VALUE_LENGTH = 1000
"""Of a parameter."""
MAX_TEXT_BYTES = 64 * 1024
MAX_METRIC_BYTES = 64 * 1024**2
MAX_STEP = 2**31 - 1
MAX_POINTS = 256
"""Of a curve; of more, only each 2nd, 3rd, 4th... and the last are sent."""
_OF_MLFLOW = "mlflow."
_RUN_NAME = "run_name"
"""The label of the run's name; a tag of this name is a parameter."""
_STATUS = {status.value: status.name for status in RunStatus}


def read_mlflow(folder: Path, *, say: Callable[[str], None]) -> ImportTrainingRunRequest:
    """Return what the run's folder says; its artifacts are not read.

    Tags become labels, as far as they fit; the others are parameters `tag.<name>`. Of MLflow's own tags only the notes
    are taken. `say` is called with what is left out.

    Raises:
        InvalidInput: names the file, and what is wrong with it.

    """
    meta = _meta(folder)
    tags = dict(_texts(folder / "tags"))
    labels, further = _labels({name: text for name, text in tags.items() if not name.startswith(_OF_MLFLOW)})
    if meta.name:
        labels[_RUN_NAME] = meta.name[:MAX_LABEL_LENGTH]
    return ImportTrainingRunRequest(
        source=f"mlflow:{meta.run}",
        parameters=_parameters(dict(_texts(folder / "params")), further, say=say),
        metrics=list(_curves(folder / "metrics", say=say)),
        labels=labels,
        notes=tags.get(NOTES, ""),
        start_time=meta.start_time,
        finish_time=meta.finish_time,
        status=meta.status,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meta:
    """What is read of `meta.yaml`."""

    run: str
    name: str
    status: str
    start_time: Timestamp | None
    finish_time: Timestamp | None


def _meta(folder: Path) -> _Meta:
    path = folder / "meta.yaml"
    _refuse_link(path)
    if not path.is_file():
        message = f"{path} is missing: name the folder of one run, as mlruns/<experiment>/<run>"
        raise InvalidInput(message)
    found = _mapping(path)
    run = _word(found.get("run_id")) or _word(found.get("run_uuid"))
    if not run:
        message = f"{path} names no run_id: name the folder of one run, as mlruns/<experiment>/<run>"
        raise InvalidInput(message)
    return _Meta(
        run=run,
        name=_word(found.get("run_name")),
        status=_status(found.get("status")),
        start_time=_moment(path, found, "start_time"),
        finish_time=_moment(path, found, "end_time"),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """Return what a file says at its top, nothing if that is no mapping; aliases, depth and types are bounded."""
    try:
        found = parsed(_text(path, max_bytes=MAX_TEXT_BYTES))
    except OutOfBounds as error:
        message = f"{path} is not as MLflow writes it: it has too many values, is nested too deep, or has its own types"
        raise InvalidInput(message) from error
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # also of a date that is none
        message = f"{path} is not YAML"
        raise InvalidInput(message) from error
    return found if isinstance(found, Mapping) else {}


def _word(found: object) -> str:
    """Return a text as it is, and nothing for other values, or for what no text can be sent as."""
    text = found if isinstance(found, str) else ""
    return "" if any("\ud800" <= each <= "\udfff" for each in text) else str(text)


def _status(found: object) -> str:
    """Return a status as a word; earlier versions of MLflow write numbers, others words."""
    return _STATUS.get(found, "") if isinstance(found, int) and not isinstance(found, bool) else _word(found)


def _labels(tags: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tags that may be labels, beside the run's name, and the others."""
    short = [name for name, text in tags.items() if name != _RUN_NAME and max(len(name), len(text)) <= MAX_LABEL_LENGTH]
    labels = {name: tags[name] for name in short[: MAX_LABELS - 1]}
    return labels, {name: text for name, text in tags.items() if name not in labels}


def _parameters(said: Mapping[str, str], tags: Mapping[str, str], *, say: Callable[[str], None]) -> dict[str, str]:
    """Return parameters, and the tags that are no labels; without values that are too long to be compared."""
    found = dict[str, str]()
    for name, text in (*said.items(), *((f"tag.{name}", text) for name, text in tags.items())):
        if name in found:
            say(f"{name} is left out as a tag: a parameter has its name")
        elif len(text) > MAX_VALUE_LENGTH:
            say(f"{name} is left out: it has {len(text)} characters, and {MAX_VALUE_LENGTH} is the limit")
        else:
            found[name] = text
    return found


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for name, path in _files(folder, max_bytes=MAX_TEXT_BYTES):
        yield name, _text(path, max_bytes=MAX_TEXT_BYTES)


def _files(folder: Path, *, max_bytes: int) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder by the names that their paths are, sorted.

    Raises:
        InvalidInput: there are too many, one is a link, or one is too large.

    """
    for path in sorted(_entries(folder)):
        _refuse_link(path)
        name = path.relative_to(folder).as_posix()
        if name != _word(name):
            message = f"{folder} has a file whose name is not UTF-8: {name!a}"
            raise InvalidInput(message)
        if path.is_file():
            if (size := path.stat().st_size) > max_bytes:
                message = f"{path} has {size} bytes; the limit is {max_bytes}"
                raise InvalidInput(message)
            yield name, path


def _entries(folder: Path) -> Sequence[Path]:
    """Return files and folders below a folder; a folder that is not there has none."""
    _refuse_link(folder)
    if not folder.exists():
        return []
    found: list[Path] = []
    try:
        for place, folders, files in os.walk(folder, onerror=_refuse):
            found += [Path(place, name) for name in (*folders, *files)]
            if len(found) > MAX_FILES:
                message = f"{folder} has more than {MAX_FILES} files: import a run with fewer"
                raise InvalidInput(message)
    except OSError as error:
        message = f"{error.filename or folder} cannot be read: {error.strerror or error}"
        raise InvalidInput(message) from error
    return found


def _refuse(error: OSError) -> None:
    raise error


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        message = f"{path} is a link: copy what it names into its place"
        raise InvalidInput(message)


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


def _curves(folder: Path, *, say: Callable[[str], None]) -> Iterator[TrainingCurve]:
    for name, path in _files(folder, max_bytes=MAX_METRIC_BYTES):
        if points := _points(path):
            yield TrainingCurve(name=name, steps=[step for step, _ in points], values=[value for _, value in points])
        else:
            say(f"{name} is left out: it has no finite number")


def _points(path: Path) -> Sequence[tuple[int, float]]:
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
    return thinned([(step, known[step]) for step in sorted(known) if math.isfinite(known[step])])


def thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Return at most MAX_POINTS of them, evenly over the whole curve, always with the last."""
    every = -(-(len(points) - 1) // (MAX_POINTS - 1))
    return points if every <= 1 else [*points[:-1:every], points[-1]]


def _moment(path: Path, meta: Mapping[str, Any], name: str) -> Timestamp | None:
    found = meta.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or not 0 <= found < 253_402_300_800_000:  # noqa: PLR2004 - the year 10000
        message = f"{path}: {name} is no time in milliseconds"
        raise InvalidInput(message)
    stamp = Timestamp()
    stamp.FromMilliseconds(found)
    return stamp
