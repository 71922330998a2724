"""What the sweep needs of MongoDB: what documents say of their texts, and whose turn it is."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tidemill_ingest.domain.document import TextUse, TextUses
from tidemill_ingest.domain.version import Text
from tidemill_kit.store.aggregates import document_id
from tidemill_kit.store.mongo import Collection, translated
from tidemill_kit.workers.leases import Lease, Leases

_FIELDS = {"id": 1, "state.source": 1} | {
    f"state.versions.{name}": 1 for name in ("object.key", "text", "superseded_at")
}
_TURN = "texts"


class MongoVersionTexts:
    """Implements `ports.VersionTexts`."""

    def __init__(self, documents: Collection) -> None:
        self._documents = documents

    async def of(self, project: str, document_ids: Sequence[str]) -> Mapping[str, TextUses]:
        """See `VersionTexts.of`."""
        keys = [document_id(project, each) for each in document_ids]
        with translated():
            found = await self._documents.find({"_id": {"$in": keys}}, _FIELDS).to_list(len(keys))
        return {
            each["id"]: TextUses(
                each["state"]["source"],
                tuple(
                    TextUse(version["object"]["key"], Text(version["text"]), version.get("superseded_at"))
                    for version in each["state"].get("versions", [])
                ),
            )
            for each in found
        }


@dataclass(slots=True)
class _Turn:
    """Implements `ports.SweepTurn`."""

    collection: Collection
    lease: Lease
    after: str

    async def came_to(self, after: str) -> None:
        """See `SweepTurn.came_to`."""
        with translated():
            await self.collection.update_one(self.lease.guard, {"$set": {"after": after}})


class MongoSweepTurns:
    """Implements `ports.SweepTurns`: how far the sweep is stands beside its lease."""

    def __init__(self, collection: Collection, leases: Leases) -> None:
        self._collection = collection
        self._leases = leases

    @asynccontextmanager
    async def held(self) -> AsyncIterator[_Turn | None]:
        """See `SweepTurns.held`."""
        async with self._leases.held(_TURN) as lease:
            if lease is None:
                yield None
                return
            with translated():
                found = await self._collection.find_one({"_id": _TURN}, {"after": True})
            yield _Turn(self._collection, lease, (found or {}).get("after", ""))
