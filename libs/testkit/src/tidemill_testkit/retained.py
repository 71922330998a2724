"""How long projects keep their data, and what is held, as a test says."""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass
class FakeRetained:
    """Stands for the kit's `Retained`."""

    kept: dict[str, timedelta] = field(default_factory=dict)
    spared: set[str] = field(default_factory=set)

    def projects(self) -> dict[str, timedelta]:
        """See `Retained.projects`."""
        return self.kept

    def spares(self, project: str) -> bool:
        """See `Retained.spares`."""
        return project in self.spared
