"""Records of answers, and the texts that they refer to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_inference.application.ports.deployments import DeploymentRef
from tidemill_inference.domain.inference import Inference

Inferences = Aggregates[Inference]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecords:
    """The retention of a deployment's records."""

    deployment: DeploymentRef
    days: int


class Records(Protocol):
    """The records of answers, for deleting old ones."""

    async def limited(self) -> Sequence[KeptRecords]:
        """Return the deployments of all projects, also deleted ones, whose records have a retention."""
        ...

    async def remove(self, kept: KeptRecords, *, before: datetime, limit: int) -> int:
        """Delete a batch of older records, oldest first, whose events are published; return how many."""
        ...


class DocumentTexts(Protocol):
    """Texts of documents, from ingest."""

    async def get(self, project: str, document: str, version: int) -> str:
        """Return the masked text of a version, to which spans refer.

        Raises:
            TextGone: it was erased.
            DependencyUnavailable: ingest does not answer.

        """
        ...
