"""Ports of harness runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, Live

HarnessRuns = Aggregates[HarnessRun]


class Deployments(Protocol):
    """The deployments of inference."""

    async def live(self, caller: Caller, deployment: str) -> Live:
        """Return what is live of a deployment.

        Raises:
            NotFound: there is none.
            DependencyUnavailable: inference does not answer.

        """
        ...


class Reports(Protocol):
    """Stores reports as objects of their runs."""

    async def name(self, project: str, run: str, report: bytes) -> ObjectRef:
        """Return where `put` will store a report."""
        ...

    async def put(self, project: str, run: str, report: bytes) -> None:
        """Store the report of a run; idempotent."""
        ...

    async def read(self, report: ObjectRef) -> bytes:
        """Return a report.

        Raises:
            NotFound: it was removed.

        """
        ...

    async def remove(self, project: str, run: str) -> None:
        """Remove the report of a run; removing nothing is no error."""
        ...


class KeptReports(Protocol):
    """Finds the runs that still name a report, a bounded number of them."""

    async def with_passages_of(self, project: str) -> Sequence[ResourceKey]:
        """Return runs, of any project, whose report may have passages of a project's documents."""
        ...

    async def older_than(self, project: str, moment: datetime) -> Sequence[ResourceKey]:
        """Return runs of a project that were recorded before then."""
        ...
