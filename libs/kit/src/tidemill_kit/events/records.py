"""Kafka records as the engine and the relay see them, without any client library."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tidemill_core.errors import InvalidInput

UNREADABLE = "tidemill_unreadable"
"""The header that says why a record stands for what cannot be read."""

KAFKA = "kafka"
"""The dependency's name in errors and status."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Record(Protocol):
    """A record as it was read; `timestamp` is in milliseconds since 1970."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Stands for a record that the client library cannot read; it is known only where it lies. Implements `Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which records of a topic: the `newest` ones of each partition, or the one at (partition, offset); else all."""

    newest: int = 0
    at: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRecord:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int = 0
    """In milliseconds since 1970; 0 is when it is written."""


class RecordRefused(InvalidInput):
    """Kafka will never take this record, however often it is written: it is too large, or not valid."""

    reason = "RECORD_REFUSED"


class Publishing(Protocol):
    """Where records are written."""

    async def publish(self, record: OutgoingRecord) -> None:
        """Return when every replica that must have the record has it. The same record again joins the attempt before.

        Raises:
            DependencyUnavailable: it is not acknowledged yet; it may still arrive.
            RecordRefused: it never will be.

        """
        ...


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, as Kafka's settings and calls need."""
    return int(seconds * 1000)
