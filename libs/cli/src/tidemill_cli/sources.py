"""sources: list, show and profile them, and how their polls go; loop.yaml declares them."""

from typing import Annotated

import typer

from tidemill.ingest.v1.source_pb2 import PollCounts, Source, SourcePoll, SourcePollState
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, ListSourcesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, word
from tidemill_cli.pages import lists
from tidemill_cli.profiles import PageOption, SignificanceOption, days_of, show_profile
from tidemill_cli.source_profiles import source_profile

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


@sources.command("profile")
def profile(
    source: Annotated[str, typer.Argument(help="The source, for example cms.")],
    *,
    days: Annotated[
        str, typer.Option("--days", help="FIRST..LAST, such as 2026-11-01..2026-11-30; default: the last 30 days.")
    ] = "",
    compare: Annotated[str, typer.Option("--compare", help="Days to compare with, FIRST..LAST.")] = "",
    collection: Annotated[
        str, typer.Option("--collection", help="Also show the topics of its documents, by this collection's index.")
    ] = "",
    significance: SignificanceOption = 0.05,
    html: PageOption = None,
) -> None:
    """Show what came into a source: counts, languages, lengths, duplicates, personal data, readability, topics.

    Versions are counted as they are stored; deleted and erased documents stay counted.
    """
    chosen, before = days_of(days, "--days"), days_of(compare, "--compare") if compare else None
    found = call(
        lambda c: source_profile(c, source, chosen, baseline=before, collection=collection, significance=significance)
    )
    show_profile(found.reply, found.names, title=found.title, page=html, sections=found.sections)


def _origin(source: Source) -> str:
    polling = source.polling
    if polling.HasField("s3"):
        return f"s3: {polling.s3.endpoint}/{polling.s3.bucket}/{polling.s3.prefix}"
    if polling.HasField("git"):
        return f"git: {polling.git.url} {polling.git.ref}".strip()
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
