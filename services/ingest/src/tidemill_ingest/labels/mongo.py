"""Labels in MongoDB: a row for each item of a review queue, which is found by its `_id` and by what it has labels of.

`labels`: `{_id: "<project>/<item>", project, seq, queue, labels: [[field, value]], terms, reviewers, adjudicator,
named, resolved_at}` with `document` and `source`, or with `dataset` and `example`. Of a removed item there are `_id`,
`project` and `seq`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from tidemill_ingest.labels.domain import ItemLabels, Label, SubjectKind
from tidemill_ingest.labels.ports import MAX_SHOWN
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import Document, document_id, translated, update_or_insert

COLLECTION = "labels"
_BATCH = 500
_FIELDS = (
    "queue",
    "document",
    "source",
    "dataset",
    "example",
    "labels",
    "terms",
    "reviewers",
    "adjudicator",
    "named",
    "resolved_at",
)
_INDEXES = (
    ("project", "document", "resolved_at"),
    ("project", "dataset", "example"),
    ("project", "terms", "document"),
    ("project", "source"),
    ("project", "named"),
)


class MongoLabels:
    """Implements `ports.Labels`."""

    def __init__(self, collection: MongoCollection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes; idempotent."""
        with translated():
            for fields in _INDEXES:
                await self._collection.create_index([(name, 1) for name in fields])

    async def put(self, project: str, labels: ItemLabels) -> None:
        """See `Labels.put`."""
        row = _row(labels)
        update: Document = {"$set": {"project": project, "seq": labels.seq} | row}
        if absent := {name: "" for name in _FIELDS if name not in row}:
            update["$unset"] = absent
        again = {"seq": labels.seq, "queue": {"$exists": True}}  # what was erased stays so when its event comes again
        expected = {"_id": document_id(project, labels.item), "$or": [{"seq": {"$lt": labels.seq}}, again]}
        await update_or_insert(self._collection, expected, update)

    async def of_document(self, project: str, document: str) -> Sequence[ItemLabels]:
        """See `Labels.of_document`."""
        with translated():
            found = self._collection.find({"project": project, "document": document})
            latest = found.sort([("resolved_at", -1)]).limit(MAX_SHOWN)
            return [_labels(each) for each in await latest.to_list(None)]

    async def of_examples(
        self, project: str, dataset: str, examples: Collection[str]
    ) -> Mapping[str, Sequence[ItemLabels]]:
        """See `Labels.of_examples`."""
        ids, found = sorted(examples), defaultdict[str, list[ItemLabels]](list)
        for start in range(0, len(ids), _BATCH):
            asked = {"project": project, "dataset": dataset, "example": {"$in": ids[start : start + _BATCH]}}
            with translated():
                async for row in self._collection.find(asked):
                    found[row["example"]].append(_labels(row))
        return found

    async def of_dataset(self, project: str, dataset: str, *, limit: int) -> Mapping[str, Sequence[ItemLabels]]:
        """See `Labels.of_dataset`."""
        found = defaultdict[str, list[ItemLabels]](list)
        with translated():
            async for row in self._collection.find({"project": project, "dataset": dataset}).limit(limit):
                found[row["example"]].append(_labels(row))
        return found

    async def of_source(self, project: str, source: str, *, limit: int) -> Sequence[ItemLabels]:
        """See `Labels.of_source`."""
        with translated():
            found = self._collection.find({"project": project, "source": source}).limit(limit)
            return [_labels(each) async for each in found]

    async def documents_with(self, project: str, term: str, *, after: str, limit: int) -> Sequence[str]:
        """See `Labels.documents_with`."""
        asked = {"project": project, "terms": term, "document": {"$gt": after}}
        shown = dict[str, None]()
        with translated():
            async for row in self._collection.find(asked, {"document": True}).sort([("document", 1)]):
                shown[row["document"]] = None
                if len(shown) == limit:
                    break
        return list(shown)

    async def erase_document(self, project: str, document: str) -> int:
        """See `Labels.erase_document`."""
        return await self._remove({"project": project, "document": document})

    async def forget_person(self, project: str, person: str) -> int:
        """See `Labels.forget_person`."""
        with translated():
            if ids := await self._batch({"project": project, "named": person}):
                those: Document = {"_id": {"$in": ids}}
                await self._collection.update_many(those | {"adjudicator": person}, {"$set": {"adjudicator": ""}})
                await self._collection.update_many(those, {"$pull": {"reviewers": person, "named": person}})
        return len(ids)

    async def erase_dataset(self, project: str, dataset: str) -> int:
        """See `Labels.erase_dataset`."""
        return await self._remove({"project": project, "dataset": dataset})

    async def _remove(self, chosen: Document) -> int:
        with translated():
            if ids := await self._batch(chosen):
                await self._collection.update_many({"_id": {"$in": ids}}, _REMOVED)
        return len(ids)

    async def _batch(self, chosen: Document) -> Sequence[str]:
        return [each["_id"] for each in await self._collection.find(chosen, {"_id": True}).limit(_BATCH).to_list(None)]


_REMOVED: Document = {"$unset": dict.fromkeys(_FIELDS, "")}
"""Its number stays, so that neither an event of before nor the same one again brings it back."""


def _row(labels: ItemLabels) -> Document:
    if not labels.subject:
        return {}
    about = {"document": labels.subject, "source": labels.source}
    if labels.kind is SubjectKind.EXAMPLE:
        about = {"dataset": labels.dataset, "example": labels.subject}
    return {
        "queue": labels.queue,
        **about,
        "labels": [[each.field, each.value] for each in labels.labels],
        "terms": list(labels.terms),
        "reviewers": list(labels.reviewers),
        "adjudicator": labels.adjudicator,
        "named": list(labels.named),
        "resolved_at": labels.resolve_time,
    }


def _labels(row: Document) -> ItemLabels:
    document = row.get("document")
    return ItemLabels(
        item=row["_id"].partition("/")[2],
        seq=row["seq"],
        queue=row["queue"],
        kind=SubjectKind.EXAMPLE if document is None else SubjectKind.DOCUMENT,
        subject=row["example"] if document is None else document,
        dataset=row.get("dataset", ""),
        source=row.get("source", ""),
        labels=tuple(Label(field=field, value=value) for field, value in row["labels"]),
        reviewers=tuple(row["reviewers"]),
        adjudicator=row["adjudicator"],
        resolve_time=row["resolved_at"],
    )
