"""One immutable, masked state of a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import ObjectRef
from tidemill_core.envelope import Envelope
from tidemill_ingest.anchors import Anchor
from tidemill_ingest.documents.domain.submission import Fact, Submission, SubmissionFacts
from tidemill_ingest.members import PlannedMember
from tidemill_ingest.quality.boilerplate import Span, TextBlock
from tidemill_ingest.quality.fingerprint import Fingerprint
from tidemill_ingest.quality.policy import Breach, Duplicate, Measures
from tidemill_ingest.quality.traits import Traits


class Text(Enum):
    """Whether a version's text is still there."""

    KEPT = "kept"
    ERASED = "erased"
    EXPIRED = "expired"


UNCOUNTED = "uncounted"
"""In place of the digest of what repeats: boilerplate is to be removed, and the blocks of the text are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boilerplate:
    """What repeats across the documents of a source, and is left out of what is searched."""

    digest: str = ""
    """Equal where the same blocks are left out; "" for none."""
    blocks: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a version came from and what was done to it."""

    submission: Submission
    body_digest: str
    masking: tuple[str, ...]
    """The kinds of identifiers that were searched for."""
    steps: tuple[str, ...] = ()
    masked: Mapping[str, int] = field(default_factory=dict)
    """How many identifiers of each kind were replaced."""
    quality: str = ""
    """The digest of the rules that the text was measured against."""
    removed: Boilerplate | None = None
    """What is not searched; None where its source has nothing removed."""

    def made_by(self, facts: SubmissionFacts) -> bool:
        """Return whether the rules of these facts would make the same version of the same content."""
        same_blocks = facts.boilerplate is None or (
            self.removed is not None and self.removed.digest == facts.boilerplate
        )
        return same_blocks and self.masking == facts.masking and self.quality == facts.quality.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a version is made of: a document's content and what is said about it, extracted, cleaned and masked."""

    media_type: str
    text: str
    title: str
    uri: str
    language: str
    readers: tuple[str, ...]
    metadata: Mapping[str, Fact]
    revision: int
    steps: tuple[str, ...]
    masked: Mapping[str, int]
    anchors: tuple[Anchor, ...] = ()
    measures: Measures | None = None
    """None where the source has no rules for them."""
    members: tuple[PlannedMember, ...] = ()
    """Files inside, which become documents of their own."""
    fingerprint: Fingerprint | None = None
    """None where the source compares its documents with no others."""
    traits: Traits | None = None
    """None where no profiles are kept, and of the list of an archive's files."""
    pseudonyms: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What pseudonyms in it stand for, on the way from the process that made them to where it is encrypted."""
    sealed_pseudonyms: Envelope | None = None
    """The same, encrypted."""
    blocks: tuple[TextBlock, ...] = ()
    """Empty where its source has no boilerplate removed."""
    boilerplate: tuple[Span, ...] = ()
    """Which parts of the text are not searched."""
    removed: Boilerplate | None = None


def text_name(ref: ObjectRef) -> str:
    """Return what distinguishes a text among those of its document."""
    return ref.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedText:
    """The text of a version, and the places in it that people name."""

    text: str
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What was accepted; its text is in the object."""

    media_type: str
    title: str
    uri: str
    language: str
    readers: tuple[str, ...]
    metadata: Mapping[str, Fact]
    object: ObjectRef
    provenance: Provenance
    revision: int
    number: int
    create_time: datetime
    superseded_at: datetime | None = None
    text: Text = Text.KEPT
    restricted: bool | None = None
    """Whether a version whose text is gone named readers; None where that is not known."""
    measures: Measures | None = None
    withheld: tuple[Breach, ...] = ()
    """The rules of its source for which it is not, or never was, current."""
    duplicate: Duplicate | None = None
    """The document whose duplicate it is."""
    released: bool = False
    """Whether an operator published it, whatever rules it breaks."""

    @property
    def note(self) -> str:
        """What its history says of it, "" for nothing."""
        removed = self.provenance.removed
        if removed is None or not removed.blocks:
            return ""
        return f"{removed.blocks} blocks ({removed.characters} characters) that repeat in its source are not searched"

    @property
    def text_name(self) -> str:
        """What distinguishes its text among those of its document."""
        return text_name(self.object)

    @property
    def waits(self) -> bool:
        """Whether it is withheld still: neither another version nor a deletion came after it."""
        return bool(self.withheld) and self.superseded_at is None and self.text is Text.KEPT

    @classmethod
    def of(  # noqa: PLR0913 - what it is made of, and where it came from
        cls,
        prepared: Prepared,
        *,
        ref: ObjectRef,
        facts: SubmissionFacts,
        submission: Submission,
        number: int,
        now: datetime,
    ) -> "Version":
        """Return a new version, withheld where it breaks rules of its source."""
        return cls(
            media_type=prepared.media_type,
            title=prepared.title,
            uri=prepared.uri,
            language=prepared.language,
            readers=prepared.readers,
            metadata=prepared.metadata,
            object=ref,
            provenance=Provenance(
                submission=submission,
                body_digest=facts.body_digest,
                masking=facts.masking,
                steps=prepared.steps,
                masked=prepared.masked,
                quality=facts.quality.digest,
                removed=prepared.removed,
            ),
            revision=facts.revision,
            number=number,
            create_time=now,
            measures=prepared.measures,
            withheld=facts.quality.breaches(prepared.measures, facts.duplicate) if prepared.measures else (),
            duplicate=facts.duplicate,
        )

    def superseded(self, now: datetime) -> "Version":
        """Return the version as it is once another one, or none, is current."""
        return replace(self, superseded_at=now)

    def without_text(self, text: Text) -> "Version":
        """Return what stays of a version whose text is gone: its number, its size, its provenance."""
        restricted = bool(self.readers) if self.text is Text.KEPT else self.restricted
        return replace(self, title="", uri="", readers=(), metadata={}, text=text, restricted=restricted)


def known_at(versions: Sequence[Version], revision: int, *, but: Version | None) -> Sequence[Version]:
    """Return those that a deletion with an older revision is about, oldest first; never the newest one, `but`.

    A version without a revision came after the revisions before it.
    """
    highest, known = 0, list[Version]()
    for each in versions:
        highest = max(highest, each.revision)
        if highest <= revision and each is not but:
            known.append(each)
    return known
