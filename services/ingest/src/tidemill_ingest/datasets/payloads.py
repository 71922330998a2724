"""Datasets' events as the contract has them: ce_type and message."""

from google.protobuf.message import Message

from tidemill.ingest.v1 import dataset_pb2, events_pb2
from tidemill_core.aggregate import Event
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.events import DatasetVersionWasPublished, DatasetVersionWasWithheld
from tidemill_ingest.datasets.domain.version import Part

VERSION_PUBLISHED = "tidemill.ingest.dataset.version_published.v1"
VERSION_WITHHELD = "tidemill.ingest.dataset.version_withheld.v1"


def payload_of(dataset: Dataset, event: Event, seq: int) -> tuple[str, Message]:
    """Return what is published of a dataset's event; never text of users."""
    match event:
        case DatasetVersionWasPublished(version=version):
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
        case DatasetVersionWasWithheld():
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


def _part(part: Part) -> dataset_pb2.DatasetPart:
    ref = part.object
    return dataset_pb2.DatasetPart(
        bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256, examples=part.examples
    )
