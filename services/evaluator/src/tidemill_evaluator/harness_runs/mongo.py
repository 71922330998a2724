"""Stored form of harness runs, and those that still name a report."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.application import ResourceKey
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun
from tidemill_evaluator.harness_runs.messages import event_message
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection, Document, translated

HARNESS_RUNS = DocumentCodec(HarnessRun, event=event_message)
_BATCH = 100


class MongoKeptReports:
    """Implements `ports.KeptReports`."""

    def __init__(self, runs: Collection) -> None:
        self._runs = runs

    async def ensure_indexes(self) -> None:
        """Create the indexes by which they are found."""
        with translated():
            await self._runs.create_index([("state.passages_of", 1)])
            await self._runs.create_index([("project", 1), ("state.report_time", 1)])

    async def with_passages_of(self, project: str) -> Sequence[ResourceKey]:
        """See `KeptReports.with_passages_of`."""
        return await self._find({"state.passages_of": project})

    async def older_than(self, project: str, moment: datetime) -> Sequence[ResourceKey]:
        """See `KeptReports.older_than`."""
        return await self._find({"project": project, "state.report_time": {"$lt": moment}})

    async def _find(self, where: Document) -> Sequence[ResourceKey]:
        with translated():
            found = await self._runs.find(where, {"project": True, "id": True}).limit(_BATCH).to_list(None)
        return [ResourceKey(project=each["project"], id=each["id"]) for each in found]
