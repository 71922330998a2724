"""What all events have, whatever their type."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMeta:
    """The ce_type of an event, and its time."""

    type: str
    time: datetime

    @property
    def name(self) -> str:
        """The last words of the type: "version_published"."""
        return self.type.split(".")[-2]


@dataclass(frozen=True, slots=True)
class Counted:
    """The body of an event that adds nothing to the history: it is only counted, and recorded if it is a decision."""


def version_id(name: str, number: int) -> str:
    """Return the id of a version."""
    return f"{name}@{number}"


def word_of(value: str, prefix: str) -> str:
    """Return an enum's value as a word: "canary" for ROLLOUT_STATE_CANARY."""
    return value.removeprefix(prefix).lower()
