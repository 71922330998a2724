"""A value that an answer will have of itself, unless one is given."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import ResourceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedValue:
    """A metric of an answer that matures at `due`; `since` is when the question came."""

    project: str
    inference: str
    metric: str
    since: datetime
    due: datetime

    @property
    def key(self) -> ResourceKey:
        """The place of the value: no metric has a slash in its name."""
        return ResourceKey(project=self.project, id=f"{self.inference}/{self.metric}")
