"""The examples of a curation's completions, of which only the ids are kept."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_monitor.lineage.domain.graph import Ref
from tidemill_monitor.lineage.domain.kinds import Kind


@dataclass(frozen=True, slots=True)
class ExampleIds:
    """What is kept of an example: which reaction it was, and to which answer. Never its text."""

    feedback: str
    inference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The examples of one completion of a curation, which lie in feedback's exchange bucket."""

    project: str
    curation: str
    """`<curation>@<number>`, as the node."""
    object: ObjectRef
    examples: int
    time: datetime

    @property
    def key(self) -> ResourceKey:
        """Its name among the batches of all projects."""
        return ResourceKey(project=self.project, id=self.curation)

    @property
    def ref(self) -> Ref:
        """The curation's node."""
        return Ref(Kind.CURATION, self.curation)
