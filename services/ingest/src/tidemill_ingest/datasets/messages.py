"""Datasets: the contract's messages and events, and what they mean inside."""

from collections.abc import Mapping

from google.protobuf.message import Message

from tidemill.ingest.v1 import dataset_pb2 as pb
from tidemill.ingest.v1 import events_pb2
from tidemill_core.aggregate import Event
from tidemill_core.approvals import OPERATOR, ApprovalPolicy
from tidemill_core.errors import InvalidInput
from tidemill_ingest.datasets.domain.dataset import BY_QUESTION, DEFAULT_SHARE, Dataset
from tidemill_ingest.datasets.domain.events import (
    DatasetVersionApproved,
    DatasetVersionPublished,
    DatasetVersionWithheld,
)
from tidemill_ingest.datasets.domain.version import DatasetVersion, Part
from tidemill_ingest.datasets.read_versions import HELD_OUT, TRAIN, Split
from tidemill_kit.mapping import from_message, to_message

VERSION_PUBLISHED = "tidemill.ingest.dataset.version_published.v1"
VERSION_APPROVED = "tidemill.ingest.dataset.version_approved.v1"
VERSION_WITHHELD = "tidemill.ingest.dataset.version_withheld.v1"
_SPLITS: Mapping[pb.DatasetSplit.ValueType, Split] = {
    pb.DATASET_SPLIT_TRAIN: TRAIN,
    pb.DATASET_SPLIT_HELD_OUT: HELD_OUT,
}


def dataset_of(message: pb.Dataset, project: str) -> Dataset:
    """Return the dataset that a caller describes."""
    return from_message(
        Dataset,
        message,
        prefix="dataset",
        ignore={"latest_version", "waiting_offers", "waiting_since"},
        project=project,
        held_out_share=message.held_out_share or DEFAULT_SHARE,
        group_by=message.group_by or BY_QUESTION,
        approval=ApprovalPolicy(count=message.approval.count, role=message.approval.role or OPERATOR),
        version_count=0,
        last_withheld=None,
    )


def split_of(number: pb.DatasetSplit.ValueType) -> Split:
    """Return the part of a version that a caller names.

    Raises:
        InvalidInput: it names none.

    """
    if number not in _SPLITS:
        allowed = ", ".join(pb.DatasetSplit.Name(each) for each in _SPLITS)
        raise InvalidInput.at(field="part", text=f"is {number}; allowed: {allowed}")
    return _SPLITS[number]


def dataset_message(dataset: Dataset) -> pb.Dataset:
    """Return the message of a dataset, its defaults written out."""
    return to_message(
        pb.Dataset,
        dataset,
        latest_version=dataset.newest.number if dataset.newest else 0,
        waiting_offers=len(dataset.offers),
        waiting_since=dataset.offers[0].offered_at if dataset.offers else None,
    )


def version_message(version: DatasetVersion, project: str) -> pb.DatasetVersion:
    """Return the message of a version."""
    draft = version.draft
    return to_message(
        pb.DatasetVersion,
        version,
        draft,
        project=project,
        etag=draft.digest,
        labels=None,
        create_time=version.published_at,
        update_time=version.published_at,
        train=_part(draft.train),
        held_out=_part(draft.held_out),
        approval=version.approval if version.approval.count else None,
        statistics=to_message(pb.DatasetStatistics, draft.statistics, train_held_out_shared=draft.statistics.shared),
    )


def payload_of(dataset: Dataset, event: Event, seq: int) -> tuple[str, Message]:
    """Return ce_type and payload of a dataset's event; never text of users."""
    match event:
        case DatasetVersionPublished(version=version):
            return VERSION_PUBLISHED, _of_version(events_pb2.DatasetVersionPublished, event, version, seq)
        case DatasetVersionApproved(version=version):
            approvals = version.counted_approvals
            return VERSION_APPROVED, _of_version(
                events_pb2.DatasetVersionApproved, event, version, seq, approvals=approvals
            )
        case DatasetVersionWithheld():
            return VERSION_WITHHELD, to_message(events_pb2.DatasetVersionWithheld, event, dataset=dataset.id, seq=seq)
        case _:
            message = f"{type(event).__name__} is no event of a dataset"
            raise TypeError(message)


def _of_version(
    message_class: type[Message], event: Event, version: DatasetVersion, seq: int, **differences: object
) -> Message:
    draft = version.draft
    return to_message(
        message_class,
        event,
        version,
        draft,
        seq=seq,
        version=version.id,
        train=_part(draft.train),
        held_out=_part(draft.held_out),
        **differences,
    )


def _part(part: Part) -> pb.DatasetPart:
    return to_message(pb.DatasetPart, part, part.object)
