"""Logs: one structlog line per fact on stderr; JSON, or a console renderer on a terminal."""

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tidemill_kit import telemetry
from tidemill_kit.settings import ServiceSettings


def configure_logging(settings: ServiceSettings) -> None:
    """Send this process's lines to stderr: ours from `log_level` on, those of libraries from warning on.

    Stacks are printed without local variables, which would carry what users wrote.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # gRPC's core writes lines of its own, not by way of Python
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    facts: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(settings.service),
    ]
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
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


class _Origin:
    """Adds the service and, inside a span, the trace."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
        line["service"] = self._service
        if trace_id := telemetry.trace_id():
            line["trace_id"] = trace_id
        return line
