"""What applying a loop does, one resource at a time."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


class Action(enum.StrEnum):
    """What applying does to one resource."""

    CREATE = "create"
    UPDATE = "update"
    NONE = "unchanged"
    ORPHAN = "orphan"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource and what applying does to it; `details` maps a field to (before, after)."""

    kind: str
    name: str
    action: Action
    details: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything would be different afterwards."""
        return self.action in {Action.CREATE, Action.UPDATE, Action.DELETE}


Pending: TypeAlias = dict[tuple[str, str], Action]
"""What would have been done to each (kind, name) before."""
