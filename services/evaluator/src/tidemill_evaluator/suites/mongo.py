"""Stored form of suites, and the objects that have cases of end users and of documents."""

from collections.abc import Sequence
from dataclasses import asdict

from tidemill_core.aggregate import ObjectRef
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.ports import Origin
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert

SUITES = DocumentCodec(Suite)
_BATCH = 20


class MongoCaseOrigins:
    """Implements `ports.CaseOrigins`: one document for each object that has such cases."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which objects are found."""
        with translated():
            await self._collection.create_index([("project", 1), ("end_users", 1)])
            await self._collection.create_index([("documents", 1)])

    async def keep(self, project: str, suite: str, content: ObjectRef, cases: Sequence[Case]) -> None:
        """See `CaseOrigins.keep`."""
        end_users = {name for case in cases for name in (case.end_user, case.corrected_by) if name}
        documents = {each.document for case in cases for each in case.rests_on}
        if not (end_users or documents):
            return
        fields = {
            "project": project,
            "suite": suite,
            "content": asdict(content),
            "size": len(cases),
            "end_users": sorted(end_users),
            "documents": sorted(documents),
        }
        await update_or_insert(self._collection, {"_id": content.key}, {"$set": fields})

    async def of_user(self, project: str, end_user: str) -> Sequence[Origin]:
        """See `CaseOrigins.of_user`."""
        return await self._find({"project": project, "end_users": end_user})

    async def of_document(self, document: str) -> Sequence[Origin]:
        """See `CaseOrigins.of_document`."""
        return await self._find({"documents": document})

    async def forget(self, origin: Origin) -> None:
        """See `CaseOrigins.forget`."""
        with translated():
            await self._collection.delete_one({"_id": origin.content.key})

    async def _find(self, where: Document) -> Sequence[Origin]:
        with translated():
            found = await self._collection.find(where).limit(_BATCH).to_list(None)
        return [
            Origin(
                project=each["project"], suite=each["suite"], content=ObjectRef(**each["content"]), size=each["size"]
            )
            for each in found
        ]
