"""sources: list and show them, and how their polls go; loop.yaml declares them."""

from typing import Annotated

import typer

from tidemill.ingest.v1.source_pb2 import PollCounts, Source, SourcePoll, SourcePollState
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, ListSourcesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, word
from tidemill_cli.pages import lists

sources = Commands(help="Sources of documents, and how those go that are polled.")


@lists(
    sources,
    "list",
    lambda c: c.sources.ListSources,
    ("source", "from", "state", "last poll", "files", "next"),
    lambda s: (s.id, _origin(s), _state(s), *_poll(s.poll)),
)
def list_sources() -> ListSourcesRequest:
    """List the project's sources."""
    return ListSourcesRequest()


@sources.command("show")
def show_source(name: Annotated[str, typer.Argument(help="The source.")]) -> None:
    """Show a source, and what its last poll found, changed, deleted, refused and passed over."""
    source = call(lambda c: c.sources.GetSource(GetSourceRequest(id=name))).source
    facts = {"source": source.id, "from": _origin(source), "retention": f"{source.retention_days} days"}
    if source.HasField("polling"):
        facts |= {"state": _state(source)} | _facts(source.poll)
    show(plain(source), card({**facts, "warnings": "; ".join(source.warnings)}))


def _origin(source: Source) -> str:
    polling = source.polling
    if polling.HasField("s3"):
        return f"s3: {polling.s3.endpoint}/{polling.s3.bucket}/{polling.s3.prefix}"
    return source.events or "what is sent"


def _state(source: Source) -> str:
    if not source.HasField("polling"):
        return "-"
    return word(SourcePollState, source.poll.state) if source.HasField("poll") else "waiting"


def _poll(poll: SourcePoll) -> tuple[str, ...]:
    last = moment(poll.last_poll_time) if poll.HasField("last_poll_time") else "-"
    due = moment(poll.next_poll_time) if poll.HasField("next_poll_time") else "-"
    return last, str(poll.last.found) if poll.HasField("last") else "-", due


def _facts(poll: SourcePoll) -> dict[str, str]:
    """Return how the polling goes, with why it fails."""
    last, _, due = _poll(poll)
    facts = {"last poll": last, "next": due, "at": poll.position}
    if poll.HasField("last"):
        facts["last found"] = _counts(poll.last)
    if poll.HasField("under_way"):
        facts["under way"] = _counts(poll.under_way)
    if poll.reason:
        facts |= {"fails": f"{poll.reason}: {poll.message}", "failures in a row": str(poll.failures)}
    return {name: fact for name, fact in facts.items() if fact}


def _counts(counts: PollCounts) -> str:
    return (
        f"{counts.found} files, {counts.changed} changed, {counts.deleted} deleted, {counts.refused} refused, "
        f"{counts.skipped} passed over"
    )
