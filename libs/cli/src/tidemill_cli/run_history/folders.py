"""Folders of exported runs: there as a whole, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill_core.errors import InvalidInput


@contextmanager
def new_folder(home: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `home` at the end.

    Raises:
        InvalidInput: `home` is there already.
        OSError: it cannot be written.

    """
    if home.exists():
        message = f"{home} is there already: remove it, or export to another folder"
        raise InvalidInput(message)
    partial = home.with_name(f".{home.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
