"""The changes of a diff or apply."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


class Action(enum.StrEnum):
    """What apply does to a resource."""

    CREATE = "create"
    UPDATE = "update"
    NONE = "unchanged"
    ORPHAN = "orphan"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of one resource; `details` maps fields to (before, after)."""

    kind: str
    name: str
    action: Action
    details: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether the resource is changed."""
        return self.action in {Action.CREATE, Action.UPDATE, Action.DELETE}


Pending: TypeAlias = dict[tuple[str, str], Action]
"""The action of each (kind, name) that is applied earlier."""
