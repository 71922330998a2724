"""Judgements of reviewed answers: one document each, without texts, read by judge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from tidemill_core.application import derived_id
from tidemill_evaluator.judges.ports import JudgedItem, Measured
from tidemill_kit.erasure.steps import Target
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert

_FIELDS = [each.name for each in fields(JudgedItem)]


class MongoJudgedItems:
    """Implements `ports.JudgedItems`. A judge has as many as two measurements judge."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which they are read and erased."""
        with translated():
            await self._collection.create_index([("project", 1), ("judge", 1), ("version", 1), ("measurement", 1)])
            await self._collection.create_index([("project", 1), ("end_user", 1)])

    async def read(self, project: str, measured: Measured) -> Mapping[str, JudgedItem]:
        """See `JudgedItems.read`."""
        with translated():
            found = await self._collection.find({"project": project, **asdict(measured)}).to_list(None)
        return {each["item"]: JudgedItem(**{name: each[name] for name in _FIELDS}) for each in found}

    async def keep(self, project: str, measured: Measured, judged: JudgedItem) -> None:
        """See `JudgedItems.keep`."""
        name = derived_id(measured.judge, measured.version, str(measured.measurement), judged.item)
        key: Document = {"_id": f"{project}/{name}"}
        values = {"project": project, **asdict(measured), **asdict(judged)}
        await update_or_insert(self._collection, key, {"$set": values})

    async def forget_others(self, project: str, judge: str, *, measurements: Sequence[int]) -> None:
        """See `JudgedItems.forget_others`."""
        others: Document = {"project": project, "judge": judge, "measurement": {"$nin": [*measurements]}}
        with translated():
            await self._collection.delete_many(others)


def items_of_user(target: Target) -> Document:
    """Return what finds the judgements of answers to an end user."""
    return {"project": target.project, "end_user": target.subject}
