"""One stored version, as profiles count it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from tidemill_ingest.quality.traits import Traits

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What is known of a version before it is saved. It is counted, and forgotten, once it was."""

    document: str
    text: str
    """What distinguishes its text among those of its document."""
    source: str
    stored_at: datetime
    """Not later than the version, if there will be one."""
    traits: Traits
    media_type: str
    channel: str
    masked: Mapping[str, int] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    """What its submission says beside the text, such as title, readers and `metadata.product`."""

    @property
    def name(self) -> str:
        """What distinguishes it from all others of its project."""
        return f"{self.document}/{self.text}"

    @property
    def day(self) -> date:
        """The day that it is counted on."""
        return self.stored_at.date()

    @property
    def numbers(self) -> Iterator[tuple[str, float]]:
        """What is measured of it, by column."""
        yield "characters", self.traits.characters
        yield "words", self.traits.words
        if self.traits.readability is not None:
            yield "readability", self.traits.readability
        yield "identifiers", sum(self.masked.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a version when it was saved."""

    saved_at: datetime
    withheld: tuple[str, ...] = ()
    """The reasons."""
    exact: bool | None = None
    """Whether it is an exact duplicate of another document; None where it is none."""


def categories_of(version: NewVersion, outcome: Outcome) -> Iterator[tuple[str, str, int]]:
    """Yield columns, categories, and how often a version has them."""
    yield "language", version.traits.language or UNKNOWN, 1
    yield "media_type", version.media_type, 1
    yield "channel", version.channel, 1
    yield "outcome", "withheld" if outcome.withheld else "published", 1
    yield "duplicate", {None: "none", True: "exact", False: "near"}[outcome.exact], 1
    for reason in outcome.withheld:
        yield "withheld_for", reason, 1
    for kind, count in version.masked.items():
        yield "identifiers", kind, count
        yield "with_identifiers", kind, 1
    for name in version.fields:
        yield "fields", name, 1
