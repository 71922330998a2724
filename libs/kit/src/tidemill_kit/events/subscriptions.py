"""What a service receives: declared once, next to the handlers; the engine does the rest."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from tidemill_core.application import Caller, Request, derived_id
from tidemill_core.errors import TidemillError
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.records import Record

M = TypeVar("M", bound=BaseModel)

Verify = Callable[[CloudEvent, Record], Awaitable[None]]
"""Raises where a record does not prove who published it."""


class Delivery(Enum):
    """How much of a subject's history a consumer needs."""

    LATEST = "latest"
    """A projection: every routed event reports all about its subject, so that a newer `seq` supersedes older ones."""
    ONCE = "once"
    """Every event has its effect; a repeated one is reported by the id that the effect derives from `request`."""


@dataclass(slots=True, kw_only=True)  # not frozen: one is made for each event
class EventContext:
    """What a handler knows besides the body. `seq` is None where the producer does not number its events."""

    id: str
    source: str
    type: str
    subject: str
    project: str
    time: datetime
    seq: int | None
    topic: str
    partition: int
    offset: int
    data: bytes = field(repr=False)
    """The body as it came."""
    supersedes: frozenset[str] = frozenset()
    """Types of earlier events of the subject that were passed over because this one is newer (`Delivery.LATEST`)."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.data)

    @property
    def request(self) -> Request:
        """The same for the same event, however often it comes."""
        return Request.of(derived_id(self.project, self.source, self.id), self.data)

    @property
    def caller(self) -> Caller:
        """The event's project, which its source acts for."""
        return Caller.of_publisher(self.project, self.source)


@dataclass(frozen=True, slots=True)
class Route(Generic[M]):
    """Which fields of an event type are read, and what is done with them."""

    model: type[M]
    handle: Callable[[EventContext, M], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A record on its way to the dead letters. Attributes that could not be read are empty."""

    id: str
    source: str
    type: str
    subject: str
    project: str
    topic: str
    partition: int
    offset: int
    error: TidemillError

    @property
    def named(self) -> bool:
        """True where the refused event and its subject are known, so that the refusal can be reported."""
        return all((self.id, self.source, self.subject, self.project))

    @property
    def request(self) -> Request:
        """The same for the same refused event, and another one than its handler's."""
        return Request.of(derived_id("refused", self.project, self.source, self.id), self.error.reason.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One consumer group and what it does. `name` is "<service>.<what>", such as "rag.documents".

    Of one subject, events are handled in order; `order_by` names something coarser than the subject. With `ONCE` it has
    to name what the effect is remembered in, unless every effect has an id of its own there: of what has one name,
    fewer events are begun and not committed than an aggregate remembers requests. Types without a route are counted and
    passed over. `strict` is for what comes from outside: its models forbid unknown fields, ours ignore them. `refused`
    is reported before a record becomes a dead letter, perhaps more than once.
    """

    name: str
    topics: tuple[str, ...]
    delivery: Delivery
    routes: Mapping[str, Route[Any]]
    strict: bool = False
    order_by: Callable[[CloudEvent], str] | None = None
    refused: Callable[[Refusal], Awaitable[None]] | None = None
    check_size: Callable[[int], None] | None = None
    """Raises InvalidInput for a record of so many bytes, before anything in it is parsed."""
    verify: Verify | None = None
    """Refuses a record that does not prove who published it, before anything is done with it; not reported as refused.

    With it, the topics of single sources (`<topic>.<project>.<source>`) are read as well.
    """
    of_deleted: bool = False
    """True where records of deleted projects are handled too; others are passed over, so that nothing comes back."""
    gather_s: float = 0.0
    """How long a poll waits after one that had few records: more come with it, and each costs less. For what is not
    waited for; the first record after a while without any is handled at once."""
    group: str = field(init=False)
    dead_letter_topic: str = field(init=False)

    @property
    def pattern(self) -> str:
        """The names of the topics that are read, as a regular expression; "" where they are exactly `topics`."""
        if self.verify is None:
            return ""
        return f"^({'|'.join(map(re.escape, self.topics))})(\\.[a-z0-9-]+\\.[a-z0-9-]+)?$"

    def __post_init__(self) -> None:
        """Derive the names, and refuse models that are not what `strict` says."""
        object.__setattr__(self, "group", f"tidemill.{self.name}")
        object.__setattr__(self, "dead_letter_topic", f"tidemill.{self.name}.dead.v1")
        for ce_type, route in self.routes.items():
            if (route.model.model_config.get("extra") == "forbid") != self.strict:
                message = (
                    f"{self.name}: the model of {ce_type} must forbid unknown fields if, and only if, it is strict"
                )
                raise ValueError(message)
