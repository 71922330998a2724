"""Fingerprints in MongoDB: all that a new document asks for is found by `_id`, whatever the number of documents.

`fingerprints`: `{_id: "<project>/<document>/<text>", ...}`. `fingerprint_keys`: `{_id: "<project>/<key>", texts:
["<document>/<text>"]}`, the texts without an original that have this digest or band. `fingerprint_links`:
`{_id: "<project>/<original>/<document>"}`. `fingerprint_checks`: `{_id: "<project>/<document>", due}`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.quality.fingerprint import Fingerprint
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    document_id,
    insert_new,
    translated,
    update_each,
    update_those,
)
from tidemill_kit.workers.pending import PendingDocuments

MAX_CANDIDATES = 32
"""Texts that a new one is compared with: those that share most keys with it."""
_MAX_OF_KEY = 64
"""Texts that are found by one key: what more documents share is boilerplate."""
_BATCH = 200


class MongoFingerprints:
    """Implements `ports.Fingerprints`."""

    def __init__(self, records: Collection, keys: Collection, links: Collection, checks: Collection) -> None:
        self._records = records
        self._keys = keys
        self._links = links
        self._checks = checks

    async def near(self, project: str, fingerprint: Fingerprint, *, but: str) -> Sequence[StoredFingerprint]:
        """See `Fingerprints.near`."""
        shared = Counter(
            name
            for texts in (await self._texts_by_key(project, fingerprint)).values()
            for name in texts
            if not name.startswith(f"{but}/")
        )
        names = sorted(shared, key=lambda name: (-shared[name], name))[:MAX_CANDIDATES]
        return await self._found({"_id": {"$in": [document_id(project, name) for name in names]}}) if names else []

    async def of_document(self, project: str, document: str) -> Sequence[StoredFingerprint]:
        """See `Fingerprints.of_document`."""
        return await self._found(_below(project, document))

    async def known(self, project: str, document: str) -> bool:
        """See `Fingerprints.known`."""
        below = _below(project, document)
        with translated():
            found = await self._records.find_one(below, {"_id": True}) or await self._links.find_one(
                below, {"_id": True}
            )
        return found is not None

    async def put(self, project: str, stored: StoredFingerprint) -> None:
        """See `Fingerprints.put`."""
        chosen: Document = {"_id": document_id(project, stored.name)}
        with translated():
            before = await self._records.find_one_and_update(chosen, {"$set": _fields(stored)}, upsert=True)
            former = before["original"] if before else ""
            if former and former != stored.original:
                await self._links.delete_one({"_id": document_id(project, f"{former}/{stored.document}")})
            if stored.original:
                link = {"_id": document_id(project, f"{stored.original}/{stored.document}")}
                await self._links.update_one(link, {"$set": {"document": stored.document}}, upsert=True)
        if not stored.original:
            await self._list(project, stored)
        elif before:  # of what was not stored no key has the name: it is listed after this, and removed before
            await self._unlist(project, stored)

    async def remove(self, project: str, stored: StoredFingerprint) -> None:
        """See `Fingerprints.remove`."""
        await self._unlist(project, stored)
        with translated():
            if stored.original:
                await self._links.delete_one({"_id": document_id(project, f"{stored.original}/{stored.document}")})
            await self._records.delete_one({"_id": document_id(project, stored.name)})

    async def duplicates_of(self, project: str, document: str, *, after: str = "") -> Sequence[str]:
        """See `Fingerprints.duplicates_of`."""
        chosen = _below(project, document, after=after)
        with translated():
            found = await self._links.find(chosen).sort("_id", 1).limit(_BATCH).to_list(_BATCH)
        return [each["document"] for each in found]

    async def check(self, project: str, documents: Sequence[str], *, due: datetime) -> None:
        """See `Fingerprints.check`."""
        if documents:
            updates = [
                (
                    {"_id": document_id(project, each)},
                    {"$set": {"project": project, "id": each}, "$min": {"due": due}, "$inc": {"asked": 1}},
                )
                for each in documents
            ]
            with translated():
                await update_each(self._checks, updates)

    async def asked(self, project: str, document: str) -> int:
        """See `Fingerprints.asked`."""
        with translated():
            found = await self._checks.find_one({"_id": document_id(project, document)})
        return int(found["asked"]) if found else 0

    async def checked(self, project: str, document: str, *, asked: int, again: datetime | None) -> None:
        """See `Fingerprints.checked`."""
        chosen = {"_id": document_id(project, document), "asked": asked}
        with translated():
            if again is None:
                await self._checks.delete_one(chosen)
            else:
                await self._checks.update_one(chosen, {"$set": {"due": again}})

    async def _found(self, chosen: Document) -> Sequence[StoredFingerprint]:
        with translated():
            found = await self._records.find(chosen).sort("_id", 1).to_list(_BATCH)
        return [_stored(each) for each in found]

    async def _texts_by_key(self, project: str, fingerprint: Fingerprint) -> dict[str, list[str]]:
        keys = [document_id(project, key) for key in fingerprint.keys]
        with translated():
            found = await self._keys.find({"_id": {"$in": keys}}).to_list(len(keys))
        return {each["_id"]: each["texts"] for each in found}

    async def _list(self, project: str, stored: StoredFingerprint) -> None:
        # One command, and no read, for all that are new, which most are: an insert costs a fraction of an upsert.
        keys = [document_id(project, each) for each in stored.fingerprint.keys]
        taken = await insert_new(self._keys, [{"_id": key, "texts": [stored.name]} for key in keys])
        if not taken:
            return
        known = await self._texts_by_key(project, stored.fingerprint)
        of_key = {key: known.get(key, ()) for key in sorted(taken)}
        free = [key for key, names in of_key.items() if stored.name not in names and len(names) < _MAX_OF_KEY]
        if free:
            with translated():
                await update_each(self._keys, [({"_id": key}, {"$addToSet": {"texts": stored.name}}) for key in free])

    async def _unlist(self, project: str, stored: StoredFingerprint) -> None:
        known = await self._texts_by_key(project, stored.fingerprint)
        listed = [key for key, texts in known.items() if stored.name in texts]
        if listed:
            await update_those(self._keys, [({"_id": key}, {"$pull": {"texts": stored.name}}) for key in listed])
            with translated():
                await self._keys.delete_many({"_id": {"$in": listed}, "texts": []})


def checks_due(checks: Collection, now: Callable[[], datetime]) -> PendingDocuments:
    """Find the documents whose fingerprints are to be checked again."""
    return PendingDocuments(checks, lambda: {"due": {"$lte": now()}}, index="due")


def _below(project: str, document: str, *, after: str = "") -> Document:
    first = f"{project}/{document}/{after}"
    return {"_id": {"$gt" if after else "$gte": first, "$lt": f"{project}/{document}0"}}


def _fields(stored: StoredFingerprint) -> Document:
    made = stored.fingerprint
    return {
        "document": stored.document,
        "text": stored.text,
        "digest": made.text_digest,
        "bands": list(made.bands),
        "shingles": made.shingles,
        "count": made.shingle_count,
        "stored_at": stored.stored_at,
        "original": stored.original,
    }


def _stored(document: Document) -> StoredFingerprint:
    return StoredFingerprint(
        document=document["document"],
        text=document["text"],
        fingerprint=Fingerprint(
            text_digest=document["digest"],
            bands=tuple(document["bands"]),
            shingles=document["shingles"],
            shingle_count=document["count"],
        ),
        stored_at=document["stored_at"],
        original=document["original"],
    )
