"""The deadline of the call that is being answered, which the calls that it makes keep to."""

import asyncio
import time
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def remaining_s(at_most: float) -> float:
    """Return the seconds until the caller's deadline, or `at_most` where that is less or there is none."""
    deadline = _deadline.get()
    return at_most if deadline is None else max(0.0, min(at_most, deadline - time.monotonic()))


def bind_deadline(remaining_s: float | None) -> None:
    """Set it for the rest of this task and for what it starts; None is no deadline."""
    _deadline.set(None if remaining_s is None else time.monotonic() + remaining_s)


def begin_shared(work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
    """Return the task of work that several callers may wait for, each for as long as its own deadline allows.

    The deadline of the caller that began it is not the work's: others would get the error that is meant for that one.
    """
    context = copy_context()
    context.run(_deadline.set, None)
    return asyncio.create_task(work, name=name, context=context)
