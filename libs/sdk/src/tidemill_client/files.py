"""Files to upload as documents, and their keys."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from tidemill_core.errors import InvalidInput
from tidemill_core.media_types import MEDIA_TYPES, media_type_of

_HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Skipped:
    """A skipped path, and the reason."""

    path: Path
    why: str
    hidden: bool = False


@dataclass(slots=True)
class Files:
    """The files to upload by their keys, and the skipped paths."""

    by_key: dict[str, Path] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def unreadable(self) -> list[Skipped]:
        """Skipped paths that a user would expect to be added, so not the hidden ones."""
        return [each for each in self.skipped if not each.hidden]

    def by_suffix(self) -> dict[str, int]:
        """Return the number of skipped files per suffix, largest first."""
        return dict(Counter(each.path.suffix.lower() or "without suffix" for each in self.unreadable).most_common())


def find_files(paths: Sequence[Path], *, recursive: bool, below: Path | None = None) -> Files:
    """Return the files at the paths, and with `recursive` those below directories.

    The key of a file is its path relative to `below` (default: the current directory), or its absolute path if it is
    elsewhere. Keys are unique and stable.

    Raises:
        InvalidInput: a path does not exist, is a folder without `recursive`, or is not below `below`; or two files have
            names that differ only in Unicode normalisation.

    """
    found = Files()
    for path in paths:
        if path.is_dir() and recursive:
            for each in _below(path, found):
                _take(each, found, below)
        elif path.is_file():
            _take(path, found, below)
        else:
            hint = "is a folder: add --recursive" if path.is_dir() else "does not exist"
            raise InvalidInput.at(field=str(path), text=hint)
    return found


def find_changed(changed: Iterable[Path], folders: Sequence[Path], *, below: Path | None = None) -> Files:
    """Return the files among changed paths, and in changed folders, that are found below the folders.

    Raises:
        InvalidInput: a folder is not below `below`, or two files have names that differ only in Unicode normalisation.

    """
    found, roots = Files(), [whole_path(folder) for folder in folders]
    for path in sorted({whole_path(path) for path in changed}):
        inside = [path.relative_to(root) for root in roots if path.is_relative_to(root)]
        if not inside or any(part.startswith(".") for part in inside[0].parts):
            continue
        if path.is_dir() and not (path.is_symlink() and path not in roots):
            for each in _below(path, found):
                _take(each, found, below)
        elif path.is_file():
            if problem := _problem(path):
                found.skipped.append(problem)
            else:
                _take(path, found, below)
    return found


def _take(path: Path, found: Files, below: Path | None) -> None:
    key = key_of(path, below)
    other = found.by_key.setdefault(key, path)
    if whole_path(other) != whole_path(path):
        text = f"and {other} have names that differ only in Unicode normalisation: rename one"
        raise InvalidInput.at(field=str(path), text=text)


def key_of(path: Path, below: Path | None = None) -> str:
    """Return the key of a file: its path relative to `below` (default: the current directory).

    Raises:
        InvalidInput: it is not below `below`.

    """
    whole, root = whole_path(path), whole_path(below or Path())
    if whole.is_relative_to(root):
        whole = whole.relative_to(root)
    elif below:
        raise InvalidInput.at(field=str(path), text=f"is not below {below}")
    else:
        whole = whole.relative_to(whole.anchor)
    return normalize("NFC", whole.as_posix())


def whole_path(path: Path) -> Path:
    """Return the absolute path without `..`; symbolic links are kept, because keys use their names."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def _below(folder: Path, found: Files) -> Iterator[Path]:
    """Yield the files that ingest reads below a directory, and record the others as skipped."""

    def failed(error: OSError) -> None:
        found.skipped.append(Skipped(Path(error.filename), f"cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=failed):
        here = Path(parent)
        for name in sorted(folders):
            if why := "is hidden" * name.startswith(".") or "is a link to a folder" * (here / name).is_symlink():
                found.skipped.append(Skipped(here / name, why, hidden=name.startswith(".")))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if problem := _problem(here / name):
                found.skipped.append(problem)
            else:
                yield here / name


def _problem(path: Path) -> Skipped | None:
    if path.name.startswith("."):
        return Skipped(path, "is hidden", hidden=True)
    if not path.is_file():
        return Skipped(path, "is no file")
    try:
        with path.open("rb") as file:
            media_type = media_type_of(path.name, file.read(_HEAD_BYTES))
    except OSError as error:
        return Skipped(path, f"cannot be read: {error.strerror}")
    readable = media_type in MEDIA_TYPES.values()
    return None if readable else Skipped(path, f"unsupported media type {media_type}")
