"""A full disk as an error of a dependency: work waits until there is space."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill_core.errors import DependencyUnavailable


def refuse_if_full(folder: Path, size: int) -> None:
    """Check the free disk space before an upload starts.

    Raises:
        DependencyUnavailable: says how much is missing.

    """
    free = shutil.disk_usage(folder).free
    if free < size:
        message = f"TRAINER_DATA_DIR has {free} bytes free, {size} are needed: free disk space, then retry"
        raise DependencyUnavailable(message, dependency="disk")


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate ENOSPC to DependencyUnavailable.

    Raises:
        DependencyUnavailable: the disk is full.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        message = "the disk of TRAINER_DATA_DIR is full: free disk space, then retry"
        raise DependencyUnavailable(message, dependency="disk") from error
