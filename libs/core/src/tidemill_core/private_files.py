"""Files with secrets, which their owner alone may read."""

import os
from pathlib import Path


def replace_private(file: Path, content: bytes) -> None:
    """Replace a file by one that its owner alone may read; a reader sees the old one or the new one."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)  # of an interrupted write; opened as it is, it would keep its mode
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(content)
    fresh.replace(file)
