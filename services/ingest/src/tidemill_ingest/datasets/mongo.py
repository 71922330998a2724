"""Datasets in MongoDB: what they are, and which of them wait for a worker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill_core.aggregate import Event, ObjectRef
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState, Withheld
from tidemill_ingest.datasets.domain.version import (
    Batch,
    DatasetVersion,
    ExampleBatchOffer,
    Part,
    Statistics,
    VersionDraft,
)
from tidemill_ingest.datasets.messages import payload_of
from tidemill_ingest.datasets.ports import DatasetName
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, insert_new, translated
from tidemill_kit.workers.pending import PendingDocuments

TOPIC = "tidemill.ingest.dataset.v1"
_BATCH_SIZE = 1000


class DatasetCodec:
    """Dataset <-> state; lists are filtered by `state`, workers look for `waiting`."""

    schema = 2
    """1 had all groups in the object `split`, and an older process would begin anew where there is none."""

    def encode(self, aggregate: Dataset) -> dict[str, Any]:
        """See `Codec.encode`."""
        return {
            "state": aggregate.state.value,
            "share": aggregate.share,
            "group_by": aggregate.group_by,
            "offers": [asdict(offer) for offer in aggregate.offers],
            "waiting": len(aggregate.offers),
            # Names from outside are values here, because a field's name has no dots in it.
            "heard": [[curation, seq] for curation, seq in sorted(aggregate.last_seq_by_curation.items())],
            "versions": [asdict(version) for version in aggregate.versions],
            "version_count": aggregate.version_count,
            "split": asdict(aggregate.split) if aggregate.split else None,
            "owed": aggregate.held_out_debt,
            "withheld": asdict(aggregate.withheld) if aggregate.withheld else None,
            "epoch": aggregate.epoch,
            "deleted_at": aggregate.deleted_at,
        }

    def decode(self, identity: Identity, state: dict[str, Any], schema: int) -> Dataset:  # noqa: ARG002 - a field tells
        """See `Codec.decode`."""
        return Dataset(
            **identity.fields(),
            state=DatasetState(state["state"]),
            share=state["share"],
            group_by=state["group_by"],
            offers=tuple(ExampleBatchOffer(**{**each, "batch": _batch(each["batch"])}) for each in state["offers"]),
            last_seq_by_curation=dict(state["heard"]),
            versions=tuple(_version(each) for each in state["versions"]),
            version_count=state["version_count"],
            split=ObjectRef(**state["split"]) if state["split"] else None,
            held_out_debt=state.get("owed", 0),
            withheld=Withheld(**state["withheld"]) if state["withheld"] else None,
            epoch=state["epoch"],
            deleted_at=state["deleted_at"],
        )

    def event(self, aggregate: Dataset, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return payload_of(aggregate, event, seq)


def datasets_with_offers(datasets: Collection) -> PendingDocuments[DatasetName]:
    """Find the datasets to which something is offered."""
    return PendingDocuments(
        datasets,
        {"state.waiting": {"$gt": 0}},
        index="state.waiting",
        key=lambda project, dataset: DatasetName(project=project, dataset=dataset),
    )


def _batch(state: dict[str, Any]) -> Batch:
    return Batch(object=ObjectRef(**state["object"]), examples=state["examples"])


def _part(state: dict[str, Any]) -> Part:
    return Part(object=ObjectRef(**state["object"]), examples=state["examples"])


def _version(state: dict[str, Any]) -> DatasetVersion:
    draft = state["draft"]
    return DatasetVersion(
        **{
            **state,
            "draft": VersionDraft(
                digest=draft["digest"],
                train=_part(draft["train"]),
                held_out=_part(draft["held_out"]),
                statistics=Statistics(**draft["statistics"]),
            ),
        }
    )


class MongoGroups:
    """Implements `ports.Groups`: a document for each group, whose `_id` is `<project>/<dataset>/<group>`."""

    def __init__(self, groups: Collection) -> None:
        self._groups = groups

    async def assigned(self, name: DatasetName, groups: Sequence[str], *, but_by: str = "") -> Mapping[str, bool]:
        """See `Groups.assigned`."""
        found: dict[str, bool] = {}
        for part in _parts(sorted(groups)):
            where: Document = {"_id": {"$in": [_group_id(name, group) for group in part]}}
            with translated():
                async for document in self._groups.find(where):
                    if not but_by or document["offer"] != but_by:
                        found[document["_id"].rpartition("/")[2]] = document["held_out"]
        return found

    async def assign(self, name: DatasetName, groups: Mapping[str, bool], *, offer: str) -> bool:
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


def _group_id(name: DatasetName, group: str) -> str:
    return f"{name.project}/{name.dataset}/{group}"


def _parts(groups: Sequence[str]) -> Iterator[Sequence[str]]:
    return (groups[begin : begin + _BATCH_SIZE] for begin in range(0, len(groups), _BATCH_SIZE))
