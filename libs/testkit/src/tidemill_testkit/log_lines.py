"""What tests log: plain lines on standard output, which pytest shows of a test that fails.

The default of structlog colours and aligns each line, and draws each error with its source and local variables: of the
processor time of all tests that need no server it took more than the code that logged.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog


class StrictHandler(logging.Handler):
    """Prints as logging does where nothing is configured; a record that cannot be formatted is the caller's error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, or raise what it cannot be formatted for."""
        text = self.format(record)
        with suppress(ValueError):  # pytest has closed what it had captured
            sys.stderr.write(f"{text}\n")


def pytest_configure() -> None:
    """Configure structlog, as the process of a service does, and logging to refuse what it cannot format."""
    if not logging.root.handlers:
        logging.root.addHandler(StrictHandler(logging.WARNING))
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
