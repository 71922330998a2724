"""Judgements of reviewed answers: one document each, without texts, read by judge."""

from collections.abc import Mapping
from dataclasses import asdict, fields

from tidemill_core.application import derived_id
from tidemill_evaluator.judges.ports import JudgedItem
from tidemill_kit.erasure.steps import Target
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert

_FIELDS = [each.name for each in fields(JudgedItem)]


class MongoJudgedItems:
    """Implements `ports.JudgedItems`. A judge has as many as a measurement judges."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which they are read and erased."""
        with translated():
            await self._collection.create_index([("project", 1), ("judge", 1)])
            await self._collection.create_index([("project", 1), ("end_user", 1)])

    async def read(self, project: str, judge: str, *, version: str) -> Mapping[str, JudgedItem]:
        """See `JudgedItems.read`."""
        with translated():
            found = await self._collection.find({"project": project, "judge": judge}).to_list(None)
        own = [document for document in found if document["version"] == version]
        return {each["item"]: JudgedItem(**{name: each[name] for name in _FIELDS}) for each in own}

    async def keep(self, project: str, judge: str, version: str, judged: JudgedItem) -> None:
        """See `JudgedItems.keep`."""
        key: Document = {"_id": f"{project}/{derived_id(judge, version, judged.item)}"}
        values = {"project": project, "judge": judge, "version": version, **asdict(judged)}
        await update_or_insert(self._collection, key, {"$set": values})

    async def forget_others(self, project: str, judge: str, *, version: str) -> None:
        """See `JudgedItems.forget_others`."""
        with translated():
            await self._collection.delete_many({"project": project, "judge": judge, "version": {"$ne": version}})


def items_of_user(target: Target) -> Document:
    """Return what finds the judgements of answers to an end user."""
    return {"project": target.project, "end_user": target.subject}
