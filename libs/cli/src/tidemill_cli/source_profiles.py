"""The profile of a source with the topics of its documents, as `tidemill sources profile` shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tidemill.ingest.v1.profile_service_pb2 import GetSourceProfileResponse
from tidemill_cli.html_pages import html_table
from tidemill_cli.output import card, plain
from tidemill_cli.profiles import Section
from tidemill_cli.topic_pages import topic_section
from tidemill_cli.topic_tables import topic_tables
from tidemill_client.connection import Connection
from tidemill_client.profiles import Days, Profiles
from tidemill_client.topics import Topics
from tidemill_core.errors import InvalidInput, PreconditionFailed, TidemillError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProfile:
    """What came into a source, with the names of its periods, and what is shown below it."""

    title: str
    reply: GetSourceProfileResponse
    names: Sequence[str]
    sections: Sequence[Section] = ()


async def source_profile(
    connection: Connection,
    source: str,
    days: Days | None = None,
    *,
    baseline: Days | None = None,
    collection: str = "",
    significance: float = 0.05,
) -> SourceProfile:
    """Return the profile of a source, with its topics where a collection is named."""
    reply = await Profiles(connection).of_source(source, days, baseline=baseline, significance=significance)
    names = [f"{each.first_day} to {each.last_day}" for each in (reply.period, reply.baseline_period)]
    found = SourceProfile(title=f"Source {source}", reply=reply, names=names)
    if not collection:
        return found
    section = await _topics(connection, collection, source, found, significance)
    return SourceProfile(title=found.title, reply=reply, names=names, sections=[section])


async def _topics(
    connection: Connection, collection: str, source: str, profile: SourceProfile, significance: float
) -> Section:
    """Return the topics of the source's documents that the caller may read, counted by the profile's periods.

    Where these are refused, it is the reason: the profile is shown without them.
    """
    reply = profile.reply
    days = [
        Days(first=date.fromisoformat(each.first_day), last=date.fromisoformat(each.last_day))
        for each, there in ((reply.period, True), (reply.baseline_period, reply.HasField("baseline")))
        if there
    ]
    period, baseline = days[0], days[1] if len(days) > 1 else None
    try:
        topics = await Topics(connection).of(
            collection, sources=[source], days=period, baseline=baseline, significance=significance
        )
    except (PreconditionFailed, InvalidInput) as refused:
        return _without_topics(refused)
    shown = profile.names[: len(days)]
    return Section(
        data={"topics": plain(topics)}, tables=topic_tables(topics, shown), html=topic_section(topics, shown)
    )


def _without_topics(refused: TidemillError) -> Section:
    facts = {"topics": f"none: {refused.message}"}
    return Section(
        data={"topics": {"error": {"reason": refused.reason, "message": refused.message}}},
        tables=card(facts),
        html="".join(("<h2>Topics</h2>\n", *html_table(("", ""), list(facts.items())))),
    )
