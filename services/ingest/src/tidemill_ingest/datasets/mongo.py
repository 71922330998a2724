"""Datasets in MongoDB: what they are, and which of them wait for a worker."""

from collections.abc import Iterator, Mapping, Sequence

from tidemill_core.application import ResourceKey
from tidemill_ingest.datasets.domain.dataset import Dataset, Withheld
from tidemill_ingest.datasets.domain.version import Statistics, VersionDraft
from tidemill_ingest.datasets.messages import payload_of
from tidemill_kit.mapping import DocumentCodec, FieldForm, Form
from tidemill_kit.store.mongo import Collection, Document, insert_new, translated
from tidemill_kit.workers.pending import PendingDocuments

TOPIC = "tidemill.ingest.dataset.v1"
_BATCH_SIZE = 1000


DATASETS = DocumentCodec(
    Dataset,
    {
        Dataset: Form(
            renames={
                "held_out_share": "share",
                "held_out_debt": "owed",
                "last_seq_by_curation": "heard",
                "last_withheld": "withheld",
            },
            fields={
                "last_seq_by_curation": FieldForm(lambda seqs: [list(each) for each in sorted(seqs.items())], dict)
            },
            derived={"waiting": lambda dataset: len(dataset.offers)},
            sparse={"label_rules"},
        ),
        Withheld: Form(renames={"withhold_time": "withheld_at"}),
        VersionDraft: Form(sparse={"label_use"}),
        Statistics: Form(sparse={"excluded"}),
    },
    schema=2,  # 1 had all groups in the object `split`: an older process would begin anew where there is none
    event=payload_of,
)
"""Lists are filtered by `state`, the controller queries `waiting`."""


def datasets_with_offers(datasets: Collection) -> PendingDocuments:
    """Find the datasets to which something is offered."""
    return PendingDocuments(
        datasets,
        {"state.waiting": {"$gt": 0}},
        index="state.waiting",
    )


class MongoGroups:
    """Implements `ports.Groups`: a document for each group, whose `_id` is `<project>/<dataset>/<group>`."""

    def __init__(self, groups: Collection) -> None:
        self._groups = groups

    async def assigned(self, name: ResourceKey, groups: Sequence[str], *, but_by: str = "") -> Mapping[str, bool]:
        """See `Groups.assigned`."""
        found: dict[str, bool] = {}
        for part in _parts(sorted(groups)):
            where: Document = {"_id": {"$in": [_group_id(name, group) for group in part]}}
            with translated():
                async for document in self._groups.find(where):
                    if not but_by or document["offer"] != but_by:
                        found[document["_id"].rpartition("/")[2]] = document["held_out"]
        return found

    async def assign(self, name: ResourceKey, groups: Mapping[str, bool], *, offer: str) -> bool:
        """See `Groups.assign`."""
        agreed = True
        for part in _parts(sorted(groups)):
            taken = await insert_new(
                self._groups,
                [{"_id": _group_id(name, each), "held_out": groups[each], "offer": offer} for each in part],
            )
            if taken:
                stored = await self.assigned(name, [each.rpartition("/")[2] for each in taken])
                agreed = agreed and all(groups[each] == held_out for each, held_out in stored.items())
        return agreed


def _group_id(name: ResourceKey, group: str) -> str:
    return f"{name.project}/{name.id}/{group}"


def _parts(groups: Sequence[str]) -> Iterator[Sequence[str]]:
    return (groups[begin : begin + _BATCH_SIZE] for begin in range(0, len(groups), _BATCH_SIZE))
