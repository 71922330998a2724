"""What tests log: plain lines on standard output, which pytest shows of a test that fails.

The default of structlog colours and aligns each line, and draws each error with its source and local variables: of the
processor time of all tests that need no server it took more than the code that logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog


def pytest_configure() -> None:
    """Configure structlog, as the process of a service does."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ]
    )


@contextmanager
def configured_as_before() -> Iterator[None]:
    """Let a test configure structlog, and undo it at its end."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
