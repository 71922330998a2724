"""Datasets: the contract's messages and events, and what they mean inside."""

from collections.abc import Mapping

from google.protobuf.message import Message

from tidemill.ingest.v1 import dataset_pb2 as pb
from tidemill.ingest.v1 import events_pb2
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput, Violation
from tidemill_ingest.datasets.domain.dataset import BY_QUESTION, DEFAULT_SHARE, Dataset
from tidemill_ingest.datasets.domain.events import DatasetVersionPublished, DatasetVersionWithheld
from tidemill_ingest.datasets.domain.version import DatasetVersion, Part, Statistics
from tidemill_ingest.datasets.read_versions import HELD_OUT, TRAIN, Split
from tidemill_kit.grpc.requests import etag_of, timestamp_of

VERSION_PUBLISHED = "tidemill.ingest.dataset.version_published.v1"
VERSION_WITHHELD = "tidemill.ingest.dataset.version_withheld.v1"
_SPLITS: Mapping[pb.DatasetSplit.ValueType, Split] = {
    pb.DATASET_SPLIT_TRAIN: TRAIN,
    pb.DATASET_SPLIT_HELD_OUT: HELD_OUT,
}


def dataset_of(message: pb.Dataset, project: str) -> Dataset:
    """Return the dataset that a caller describes."""
    return Dataset(
        id=message.id,
        project=project,
        labels=dict(message.labels),
        share=message.held_out_share or DEFAULT_SHARE,
        group_by=message.group_by or BY_QUESTION,
    )


def split_of(number: pb.DatasetSplit.ValueType) -> Split:
    """Return the part of a version that a caller names.

    Raises:
        InvalidInput: it names none.

    """
    if number not in _SPLITS:
        allowed = ", ".join(pb.DatasetSplit.Name(each) for each in _SPLITS)
        raise InvalidInput.of(Violation(field="part", description=f"is {number}; allowed: {allowed}"))
    return _SPLITS[number]


def dataset_message(dataset: Dataset) -> pb.Dataset:
    """Return the message of a dataset, its defaults written out."""
    withheld = dataset.withheld
    return pb.Dataset(
        id=dataset.id,
        project=dataset.project,
        seq=dataset.seq,
        etag=etag_of(dataset.version),
        labels=dataset.labels,
        create_time=timestamp_of(dataset.create_time),
        update_time=timestamp_of(dataset.update_time),
        held_out_share=dataset.share,
        group_by=dataset.group_by,
        latest_version=dataset.newest.number if dataset.newest else 0,
        version_count=dataset.version_count,
        last_withheld=pb.WithheldVersion(
            reason=withheld.reason,
            message=withheld.message,
            curation=withheld.curation,
            curation_seq=withheld.curation_seq,
            withhold_time=timestamp_of(withheld.withheld_at),
        )
        if withheld
        else None,
        waiting_offers=len(dataset.offers),
        waiting_since=timestamp_of(dataset.offers[0].offered_at if dataset.offers else None),
    )


def version_message(version: DatasetVersion, project: str) -> pb.DatasetVersion:
    """Return the message of a version."""
    published = timestamp_of(version.published_at)
    return pb.DatasetVersion(
        id=version.id,
        project=project,
        seq=version.seq,
        etag=version.draft.digest,
        create_time=published,
        update_time=published,
        dataset=version.dataset,
        number=version.number,
        digest=version.draft.digest,
        train=_part(version.draft.train),
        held_out=_part(version.draft.held_out),
        statistics=_statistics(version.draft.statistics),
        curation=version.curation,
        curation_seq=version.curation_seq,
    )


def _part(part: Part) -> pb.DatasetPart:
    ref = part.object
    return pb.DatasetPart(bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256, examples=part.examples)


def _statistics(statistics: Statistics) -> pb.DatasetStatistics:
    return pb.DatasetStatistics(
        offered=statistics.offered,
        duplicates=statistics.duplicates,
        overlap=statistics.overlap,
        erased=statistics.erased,
        groups=statistics.groups,
        end_users=statistics.end_users,
        mean_output_chars=statistics.mean_output_chars,
        train_held_out_shared=statistics.shared,
        unmasked=statistics.unmasked,
        empty=statistics.empty,
    )


def payload_of(dataset: Dataset, event: Event, seq: int) -> tuple[str, Message]:
    """Return what is published of a dataset's event; never text of users."""
    match event:
        case DatasetVersionPublished(version=version):
            return VERSION_PUBLISHED, events_pb2.DatasetVersionPublished(
                dataset=dataset.id,
                seq=seq,
                version=version.id,
                digest=version.draft.digest,
                train=_part(version.draft.train),
                held_out=_part(version.draft.held_out),
                curation=version.curation,
                curation_seq=version.curation_seq,
                deployment=event.deployment,
            )
        case DatasetVersionWithheld():
            return VERSION_WITHHELD, events_pb2.DatasetVersionWithheld(
                dataset=dataset.id,
                seq=seq,
                reason=event.reason,
                message=event.message,
                curation=event.curation,
                curation_seq=event.curation_seq,
            )
        case _:
            message = f"{type(event).__name__} is no event of a dataset"
            raise TypeError(message)
