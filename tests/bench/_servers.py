"""The servers that a measurement runs on: those of TIDEMILL_TEST_STACK, or fresh ones that end with it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill_local import Addresses, LocalStack


@contextmanager
def servers() -> Iterator[Addresses]:
    """Yield the addresses of Kafka, MongoDB and S3."""
    if running := os.environ.get("TIDEMILL_TEST_STACK"):
        yield Addresses.read(Path(running))
        return
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        stack = LocalStack(Path(name) / ".tidemill", services=False, open_kafka=True)
        try:
            yield stack.up()
        finally:
            stack.down()
