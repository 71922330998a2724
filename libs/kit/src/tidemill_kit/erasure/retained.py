"""What a sweep by age has to know of projects: how long each keeps its data, and what is held."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tidemill_kit.access.holds import Holds
from tidemill_kit.access.retention import Retention, RetentionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """One kind of data of all projects, as its service's sweep sees it."""

    holds: Holds
    retention: Retention
    kind: RetentionKind

    def projects(self) -> Mapping[str, timedelta]:
        """Return how long the projects keep it that say so."""
        return self.retention.projects(self.kind)

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed by age: something of it is held."""
        return self.holds.spares(project)
