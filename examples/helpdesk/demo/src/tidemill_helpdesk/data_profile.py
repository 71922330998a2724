"""What came into the demo's sources: their profiles as pages for a browser, and a line of each."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.ingest.v1.profile_pb2 import Profile
from tidemill_cli.output import progress, stdout, writing
from tidemill_cli.profiles import write_profile
from tidemill_cli.source_profiles import SourceProfile, source_profile
from tidemill_client.connection import Connection
from tidemill_client.profiles import Profiles
from tidemill_client.waiting import poll
from tidemill_core.errors import TidemillError
from tidemill_helpdesk.patience import patience
from tidemill_helpdesk.report import Report

SECTION = "profile"
LIMIT_S = 60.0
"""Of all pages together on a busy machine; ingest counts new versions every five seconds."""
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A source of whose documents so many are counted, and the collection whose topics its page shows, "" for none."""

    source: str
    documents: int
    collection: str = ""


def counted(keys: Iterable[str]) -> int:
    """Return how many of these documents a profile counts: of an archive what is inside of it, not itself."""
    return sum(not key.endswith(".zip") for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataProfile:
    """As `tidemill sources profile SOURCE --collection COLLECTION --html FILE` does.

    Nothing later needs the pages: without them the demo says why, and goes on.
    """

    connection: Connection
    report: Report
    folder: Path
    """Where the pages are written."""
    sources: Sequence[Profiled]
    limit_s: float = LIMIT_S

    async def __call__(self) -> None:
        """Write a page of each source, and print what is in them."""
        pages: dict[str, str] = {}
        try:
            self._clear()
            with progress() as bar:
                task = bar.add_task("profiling sources", total=len(self.sources))
                async with patience("the sources were not profiled", limit_s=self.limit_s):
                    for each in self.sources:
                        found = await self._counted(each)
                        pages[each.source] = str(await asyncio.to_thread(self._written, each.source, found))
                        self._show(each.source, found.reply.profile)
                        bar.advance(task)
        except TidemillError as error:
            self.report.add(SECTION, state="failed", pages=pages, reason=f"{error.reason}: {error.message}")
            stdout.print(f"   not all profiled: {error.reason}: {error.message}", highlight=False, markup=False)
            return
        self.report.add(SECTION, state="completed", pages=pages)
        names = ", ".join(Path(page).name for page in pages.values())
        stdout.print(f"   to open in a browser, in {self.folder}: {names}", highlight=False, markup=False)

    def _clear(self) -> None:
        """Make the folder, without pages of an earlier demo."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for each in self.sources:
                self._page(each.source).unlink(missing_ok=True)

    def _page(self, source: str) -> Path:
        return self.folder / f"{source}.html"

    async def _counted(self, profiled: Profiled) -> SourceProfile:
        """Return the source's profile once all of its documents are counted."""
        await poll(
            lambda: Profiles(self.connection).of_source(profiled.source),
            lambda reply: reply.profile.count >= profiled.documents,
            what=f"counting the documents of source {profiled.source}",
            within_s=math.inf,  # the patience with all sources ends it
        )
        return await source_profile(self.connection, profiled.source, collection=profiled.collection)

    def _written(self, source: str, found: SourceProfile) -> Path:
        page = self._page(source)
        write_profile(found.reply, found.names, title=found.title, page=page, sections=found.sections)
        return page

    def _show(self, source: str, profile: Profile) -> None:
        languages, masked = _counts(profile, "language"), _counts(profile, "identifiers")
        duplicates = _counts(profile, "duplicate")
        near, exact = duplicates.get("near", 0), duplicates.get("exact", 0)
        figures: dict[str, Any] = {"versions": profile.count, "near_duplicates": near, "exact_duplicates": exact}
        figures |= {"languages": languages, "masked": masked}
        self.report.add(SECTION, **{f"{source}_{name}": value for name, value in figures.items()})
        stdout.print(
            f"   {source}: {profile.count} versions in {_spelled(languages)}; {near} near-duplicates, {exact} exact; "
            f"personal data masked: {_spelled(masked)}",
            highlight=False,
            markup=False,
        )


def _counts(profile: Profile, column: str) -> dict[str, int]:
    """Return the counts of a column by category, the most frequent first."""
    found = (each.counts for each in profile.categories if each.name == column)
    return {count.name: count.count for count in next(found, ())}


def _spelled(counts: Mapping[str, int]) -> str:
    """Return the most frequent categories as `en 480, de 8 and 2 others`."""
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_SHOWN])
    others = len(counts) - _SHOWN
    return f"{shown} and {others} others" if others > 0 else shown or "none"
