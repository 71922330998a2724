"""What an RPC, or work done for a project, carries along: who calls and how much time is left."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tidemill_core.application import Caller
from tidemill_core.deadlines import bind_deadline
from tidemill_core.errors import Unauthenticated

PROJECT = "tidemill-project"
"""The metadata key that names the caller's project."""
AUTHORIZATION = "authorization"
"""The key of the caller's credential: `Bearer ...`."""
ON_BEHALF_OF = "tidemill-on-behalf-of"
"""The key by which a service names the person or account that it calls for."""

PERSON = re.compile(r"(user|service_account):[!-~]{1,200}")
"""Subjects that a service may call on behalf of."""

PROJECT_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PROJECT_FORM = "1 to 63 characters of a-z, 0-9 and -, starting and ending with a letter or digit"
"""The slug in words."""

HOW_TO_NAME_A_PROJECT = f'send your project once, in the gRPC metadata "{PROJECT}": {PROJECT_FORM}'

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
_acting: ContextVar[Caller | None] = ContextVar("acting", default=None)


def current_caller() -> Caller:
    """Return who calls. Entry points ask this, and pass it on: use cases and adapters are given their caller.

    Raises:
        Unauthenticated: there is none: this is no RPC that needs a project.

    """
    caller = _caller.get()
    if caller is None:
        raise Unauthenticated(HOW_TO_NAME_A_PROJECT)
    return caller


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Send the calls of other services that begin in this block for this caller; no others are sent for a project."""
    token = _acting.set(caller)
    try:
        yield
    finally:
        _acting.reset(token)


def acting_caller() -> Caller | None:
    """Return whom calls are sent for here."""
    return _acting.get()


def bind_call(caller: Caller | None, *, remaining_s: float | None) -> None:
    """Set both for the rest of this task and for what it starts; `remaining_s` None is no deadline."""
    _caller.set(caller)
    bind_deadline(remaining_s)
