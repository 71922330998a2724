"""What all stubs do with a call: read its project, and send errors as services do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tidemill_core.errors import TidemillError
from tidemill_core.grpc.context import PROJECT
from tidemill_core.grpc.status import to_status

Context = grpc.aio.ServicerContext[Any, Any]


def with_reason(error: TidemillError, *, reason: str) -> TidemillError:
    """Return the error with the reason that a service's own class of it has."""
    error.reason = reason
    return error


def project_of(context: Context) -> str:
    """Return the project that a call is for."""
    return str(dict(context.invocation_metadata() or ()).get(PROJECT, ""))


@asynccontextmanager
async def errors_of(context: Context) -> AsyncIterator[None]:
    """Send an error of the body as services do."""
    try:
        yield
    except TidemillError as error:
        await context.abort_with_status(to_status(error))
