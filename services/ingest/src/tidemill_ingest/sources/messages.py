"""Sources: the contract's messages and what they mean inside."""

from tidemill.ingest.v1 import source_pb2
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.domain import Source
from tidemill_kit.grpc.requests import etag_of, timestamp_of


def source_of(message: source_pb2.Source, project: str) -> Source:
    """Return the source that a caller describes.

    Raises:
        InvalidInput: the masking names a kind that does not exist.

    """
    masking = Masking.of(message.masking.kinds, none=message.masking.none)
    return Source(
        id=message.id,
        project=project,
        labels=dict(message.labels),
        events=message.events,
        masking=masking,
        retention_days=message.retention_days,
    )


def source_message(source: Source) -> source_pb2.Source:
    """Return the message of a source; its masking is written out, but for the default of masking everything."""
    kinds = source.masking.kinds
    everything = kinds == frozenset(MaskKind)
    masking = source_pb2.Masking(kinds=[] if everything else source.masking.names, none=not kinds)
    return source_pb2.Source(
        id=source.id,
        project=source.project,
        seq=source.seq,
        etag=etag_of(source.version),
        labels=source.labels,
        create_time=timestamp_of(source.create_time),
        update_time=timestamp_of(source.update_time),
        events=source.events,
        masking=None if everything else masking,
        retention_days=source.retention_days,
    )
