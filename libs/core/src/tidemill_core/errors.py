"""What can go wrong, without any transport in it.

TidemillError
├── InvalidInput            a field, its value and its limit; `violations` names them all
│   └── RequestIdReused     the same request id with another body
├── NotFound
├── AlreadyExists
├── Conflict                a concurrent change came first: read and decide again
├── PreconditionFailed      the system is not in the state that the call needs
├── Unauthenticated
├── PermissionDenied
├── RateLimited
│   └── Overloaded          this process has too many calls in work
├── DeadlineExceeded        the caller's time ran out
├── Internal                another service failed inside: nothing the caller can change
└── DependencyUnavailable   something that this service needs does not answer: try again
    └── DependencyTimedOut  it hangs, or is too slow

Services derive their own from these and set `reason` (UPPER_SNAKE). Entry points translate them once. Each error has a
`blame`, which goes over the wire, so that those who compare alternatives need no lists of names.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that broke one rule. `description` reports value and limit and what to do, never a secret."""

    field: str
    description: str


class Blame(StrEnum):
    """What a failure says about those who took part in the work."""

    CALLER = "caller"
    """The call is wrong: it fails whatever does the work."""
    VARIANT = "variant"
    """What was chosen to do the work, such as a model, an endpoint or a prompt: another one may succeed."""
    CAPACITY = "capacity"
    """This process has no capacity left for what was chosen: it cannot serve, and nothing is said about its results."""
    SHARED = "shared"
    """A dependency of every choice alike."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")


def named(key: str) -> str:
    """Return a key that a caller made up, as it may stand in errors and events: anything but a name is hidden.

    A name is short and made of letters, digits and `_.-`; what else people put into keys may be about people.
    """
    return key if _NAME.fullmatch(key) else f"<{len(key)} characters, sha256 {digest_of(key)}>"


def digest_of(text: str) -> str:
    """Return what identifies a foreign text in logs without quoting it."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


class TidemillError(Exception):
    """Root of the tree. `metadata` are facts for programs: ids and limits, never text of users."""

    reason = "INTERNAL"
    blame = Blame.VARIANT

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items() if value is not None}


class InvalidInput(TidemillError):
    """The call can never succeed as it is."""

    reason = "INVALID_INPUT"
    blame = Blame.CALLER

    def __init__(self, message: str = "", *, violations: Sequence[Violation] = (), **metadata: object) -> None:
        super().__init__(message or "; ".join(f"{v.field}: {v.description}" for v in violations), **metadata)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, *violations: Violation) -> Self:
        """Return one error that names every violation."""
        return cls(violations=violations)

    @classmethod
    def at(cls, field: str, text: str) -> Self:
        """Return the error of one field."""
        return cls.of(Violation(field, text))

    def renamed(self, name_of: Callable[[str], str]) -> "InvalidInput":
        """Return the error with its fields called as a caller called them; one without violations is as it was."""
        if not self.violations:
            return self
        return self.with_violations(Violation(name_of(each.field), each.description) for each in self.violations)

    def with_violations(self, violations: Iterable[Violation]) -> "InvalidInput":
        """Return the error, with its reason and facts, at other fields or in other words."""
        refusal = InvalidInput.of(*violations)
        refusal.reason, refusal.metadata = self.reason, self.metadata
        return refusal


class RequestIdReused(InvalidInput):
    """The request id was used before with another body."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request id {request_id} was used before with another body: choose a new one",
            violations=[Violation("request_id", "was used before with another body")],
            request_id=request_id,
        )


class NotFound(TidemillError):
    """The caller's project has no such thing."""

    reason = "NOT_FOUND"


class AlreadyExists(TidemillError):
    """The id is taken."""

    reason = "ALREADY_EXISTS"


class Conflict(TidemillError):
    """The thing changed meanwhile."""

    reason = "CONFLICT"


class PreconditionFailed(TidemillError):
    """The thing is not in the state that the call needs."""

    reason = "PRECONDITION_FAILED"


class Unauthenticated(TidemillError):
    """The caller is unknown."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(TidemillError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class RateLimited(TidemillError):
    """Too much at once; `retry_after_s` says when to come again."""

    reason = "RATE_LIMITED"
    blame = Blame.CAPACITY

    def __init__(self, message: str, *, retry_after_s: float, **metadata: object) -> None:
        super().__init__(message, **metadata)
        self.retry_after_s = retry_after_s


class Overloaded(RateLimited):
    """This process has too many calls in work; nothing is wrong with the one that was refused."""

    reason = "OVERLOADED"
    blame = Blame.SHARED


class DeadlineExceeded(TidemillError):
    """The caller's time ran out before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class Internal(TidemillError):
    """Another service failed inside."""

    reason = "INTERNAL"


class DependencyUnavailable(TidemillError):
    """A dependency does not answer; try again later."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, message: str, *, dependency: str, blame: Blame = Blame.SHARED, **metadata: object) -> None:
        super().__init__(message, dependency=dependency, **metadata)
        self.dependency = dependency
        self.blame = blame


class DependencyTimedOut(DependencyUnavailable):
    """A dependency did not answer within the time that calls of it are given."""

    reason = "DEPENDENCY_TIMED_OUT"


TRANSIENT = (DependencyUnavailable, RateLimited)
"""Passes by itself, however long it takes: background work waits for it and never fails for good because of it."""


class NativePanic(RuntimeError):
    """Native code gave up on one input; what it raised is no `Exception`, so that no handler would catch it."""


class CancelledElsewhere(RuntimeError):
    """What was waited for was cancelled, and the one who waits was not: it has failed like anything else."""


_ENDS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


class _Isolated:
    """See `isolated`; a class, because a generator costs an event several times as much."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Keep nothing: one object stands around every body."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what is an Exception, or asks to stop, go on as it is."""
        if error is None or isinstance(error, Exception):
            return
        if isinstance(error, asyncio.CancelledError):
            if not _is_asked_to_end():
                message = "something that was waited for was cancelled"
                raise CancelledElsewhere(message) from error
        elif not isinstance(error, _ENDS) and not _ends(error):
            raise NativePanic(type(error).__name__) from error


_ISOLATED = _Isolated()


def isolated() -> AbstractContextManager[None, None]:
    """Raise what native code panics with as an Exception, so that one input that breaks does not end the others.

    Libraries in Rust raise a `BaseException` (pyo3's PanicException). What ends a task or the process goes on as it is;
    a cancellation of something else, such as a shared task, would end one task of many without a trace.
    It belongs around whatever stands for one of many: an RPC, a record, a row, a job.

    Raises:
        NativePanic: a BaseException that does not ask the process to stop.
        CancelledElsewhere: a cancellation that was not asked of this task.

    """
    return _ISOLATED


def _is_asked_to_end() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return True
    return task is None or task.cancelling() > 0


def _ends(error: BaseException) -> bool:
    """Return whether a group holds something that asks to stop."""
    return isinstance(error, BaseExceptionGroup) and error.subgroup(_ENDS) is not None
