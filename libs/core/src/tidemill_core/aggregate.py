"""What an aggregate is: pure, synchronous, without I/O, clock or logger."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact about one aggregate, in the past tense; subclasses add what happened."""

    occurred_at: datetime

    @property
    def record_key(self) -> str:
        """The Kafka key of its record, where that is not its aggregate's: of a topic that keeps the latest of each."""
        return ""


@dataclass(slots=True, kw_only=True)
class Aggregate:
    """A consistency boundary, saved whole: its state and the events of a change commit together.

    `version` counts saves (optimistic concurrency, and the etag), `seq` counts events. Both are set by the store,
    as are `create_time` and `update_time`. `pending` holds the events that the next save will publish.
    """

    id: str
    project: str
    labels: dict[str, str] = field(default_factory=dict)
    version: int = 0
    seq: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    deleted: bool = False
    """A tombstone: it keeps counting, and `get` no longer finds it."""
    pending: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """Where bytes lie that are too big for an event, and how to verify them."""

    bucket: str
    key: str
    size: int
    sha256: str
