"""Sources: what the contract's messages mean inside, where names differ."""

from tidemill.ingest.v1 import source_pb2
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_ingest.sources.domain import Source
from tidemill_kit.mapping import from_message, to_message


def source_of(message: source_pb2.Source, project: str) -> Source:
    """Return the source that a caller describes.

    Raises:
        InvalidInput: the masking names a kind that does not exist.

    """
    said = message.masking
    masking = Masking.of(said.kinds, none=said.none, model=said.model, reject=said.reject, pseudonyms=said.pseudonyms)
    return from_message(
        Source,
        message,
        prefix="source",
        ignore={"warnings", "poll"},
        project=project,
        masking=masking,
        quality_changed=False,
        polling_changed=False,
    )


def source_message(source: Source, poll: SourcePoll | None = None) -> source_pb2.Source:
    """Return the message of a source; its masking is written out, but for the default of masking everything."""
    given, quality = source.masking, source.quality if source.quality.digest else None
    masking = None
    if given != Masking():
        masking = source_pb2.Masking(
            kinds=given.names,
            none=not given.kinds,
            model=given.model,
            reject=given.reject,
            pseudonyms=given.pseudonyms,
        )
    return to_message(
        source_pb2.Source,
        source,
        masking=masking,
        quality=quality,
        warnings=source.warnings,
        poll=_poll_message(poll) if poll is not None and source.polling is not None else None,
    )


def _poll_message(poll: SourcePoll) -> source_pb2.SourcePoll:
    return to_message(source_pb2.SourcePoll, poll, last=None if poll.last_poll_time is None else poll.last)
