"""Logs: one structlog line per fact on stderr; JSON, or a console renderer on a terminal."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from tidemill_core.errors import TidemillError
from tidemill_kit.runtime import telemetry
from tidemill_kit.runtime.settings import ServiceSettings

event_facts: ContextVar[Callable[[], Mapping[str, object]] | None] = ContextVar("event_facts", default=None)
"""What every line that is written while an event is handled reports about it; put together for such a line only."""


def configure_logging(settings: ServiceSettings) -> None:
    """Send this process's lines to stderr: ours from `log_level` on, those of libraries from warning on.

    Stacks are printed without local variables and without the messages of errors that are not ours: both may quote what
    users wrote.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # gRPC's core writes lines of its own, not by way of Python
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    facts: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        merge_event_facts,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(settings.service),
    ]
    rendering: list[Processor] = (
        [structlog.processors.ExceptionRenderer(_stack), structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.ExceptionRenderer(_stack), structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*facts, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*facts, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def merge_event_facts(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    """Add what is known about the event that is being handled, if any is."""
    facts = event_facts.get()
    return line if facts is None else {**facts(), **line}


class _Origin:
    """Adds the service and, inside a span, the trace."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
        line["service"] = self._service
        if trace_id := telemetry.trace_id():
            line["trace_id"] = trace_id
        return line


def _stack(exc_info: ExcInfo) -> str:
    """Return the error and what led to it, each with its frames, innermost cause first."""
    reported: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        reported.insert(0, "".join(traceback.format_tb(error.__traceback__)) + name + _message(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(reported)


def _message(error: BaseException) -> str:
    """Return what is ours or the operating system's to say."""
    if isinstance(error, TidemillError):
        return f": {error.message}"
    return f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
