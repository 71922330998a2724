"""The folders of a shard: `<name>`, and after a graph was built `<name>.1` and so on; the newest complete one counts.

A new generation is complete when its file `partial` is gone. So one deletion replaces the older one, and a crash at any
moment leaves one complete generation.
"""

import os
import shutil
from pathlib import Path

_PARTIAL = "partial"


def used(folder: Path, name: str) -> Path | None:
    """Return the newest complete generation of a shard."""
    complete = [path for path in all_of(folder, name) if _number(path) >= 0 and not (path / _PARTIAL).exists()]
    return complete[-1] if complete else None


def all_of(folder: Path, name: str) -> list[Path]:
    """Return all folders of a shard, the oldest first."""
    return sorted((path for path in folder.glob(f"{name}*") if _name(path) == name and path.is_dir()), key=_number)


def start_next(folder: Path, name: str) -> Path:
    """Create the folder of the next generation; it does not count until `complete`."""
    before = used(folder, name)
    path = folder / f"{name}.{_number(before) + 1 if before else 1}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    (path / _PARTIAL).touch()
    return path


def complete(path: Path) -> None:
    """Use this generation from now on."""
    (path / _PARTIAL).unlink()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # before the older one is deleted: a power failure must not leave neither
    finally:
        os.close(descriptor)


def delete(folder: Path, name: str) -> None:
    """Delete all folders of a shard: the oldest first, so that a crash never leaves an older one to be used."""
    for path in all_of(folder, name):
        shutil.rmtree(path, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what crashes left: incomplete generations, and those that a newer one has replaced."""
    paths = [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
    counted = {used(folder, name) for name in {_name(path) for path in paths}}
    for path in paths:
        if path not in counted:
            shutil.rmtree(path, ignore_errors=True)


def _name(path: Path) -> str:
    return path.name.partition(".")[0]


def _number(path: Path) -> int:
    """Return the number of a generation; -1 for a shard that is being created."""
    number = path.name.partition(".")[2] or "0"
    return int(number) if number.isdecimal() else -1
