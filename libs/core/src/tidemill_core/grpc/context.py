"""What an RPC, or work done for a project, carries along: who calls and how much time is left."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tidemill_core.application import Caller
from tidemill_core.errors import Unauthenticated

PROJECT = "tidemill-project"
"""The metadata key that names the caller's project."""

PROJECT_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PROJECT_FORM = "1 to 63 characters of a-z, 0-9 and -, starting and ending with a letter or digit"
"""The slug in words."""

HOW_TO_NAME_A_PROJECT = f'send your project once, in the gRPC metadata "{PROJECT}": {PROJECT_FORM}'

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def current_caller() -> Caller:
    """Return who calls.

    Raises:
        Unauthenticated: there is none: this is neither an RPC that needs a project nor inside `acting_for`.

    """
    caller = _caller.get()
    if caller is None:
        raise Unauthenticated(HOW_TO_NAME_A_PROJECT)
    return caller


def project_of_call() -> str:
    """Return the caller's project, or "" without a caller."""
    caller = _caller.get()
    return caller.project if caller is not None else ""


def remaining_s(at_most: float) -> float:
    """Return the seconds until the caller's deadline, or `at_most` where that is less or there is none."""
    deadline = _deadline.get()
    return at_most if deadline is None else max(0.0, min(at_most, deadline - time.monotonic()))


def bind_call(caller: Caller | None, *, remaining_s: float | None) -> None:
    """Set both for the rest of this task and for what it starts; `remaining_s` None is no deadline."""
    _caller.set(caller)
    _deadline.set(None if remaining_s is None else time.monotonic() + remaining_s)


@contextmanager
def acting_for(project: str) -> Iterator[Caller]:
    """Be the caller of a project in a block: workers and consumers call other services on its behalf."""
    caller = Caller(project=project)
    token = _caller.set(caller)
    try:
        yield caller
    finally:
        _caller.reset(token)
