"""How much is taken; both sides of every limit are tested."""

from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill_ingest.members import Allowance

MEBIBYTE = 1024 * 1024
MAX_LABELS = 64
COMMON_FROM = 5
"""So many different questions with one answer make it a common one, unless a deployment says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much of its past a document remembers."""

    versions: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ocr:
    """What recognises text in pictures of pages, and how much it may; without a command nothing does."""

    command: str = ""
    languages: str = "eng"
    """As tesseract names them, joined by `+`."""
    max_pages: int = 50
    page_s: float = 30.0
    document_s: float = 240.0
    """For all pages of one document; less than a process has for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionLimits:
    """What one file may become: a small one can hold gigabytes."""

    text_bytes: int = 12 * MEBIBYTE
    """Of the text, in UTF-8: with its anchors it fits a reply of 16 MiB."""
    pages: int = 5000
    """Pages, slides or chapters."""
    anchors: int = 20_000
    """Of one document; where there would be more, only some rows of its tables have one."""
    entries: int = 10_000
    """Files in a container, which office documents are."""
    inflated_bytes: int = 256 * MEBIBYTE
    """All of them together."""
    part_bytes: int = 64 * MEBIBYTE
    """One that is read."""
    ratio: int = 200
    """How many times larger than its compressed bytes one of more than a megabyte may be."""
    measured_characters: int = 1_000_000
    """Of a text: rules of quality, but for its length, are about so many from its start."""
    counted_blocks: int = 200
    """Of a text, where its source has boilerplate removed: half of them from its start, half from its end."""
    members: int = 1000
    """Files in an archive or attached to a mail that become documents, and those in these."""
    member_bytes: int = 10 * MEBIBYTE
    """One of them."""
    unpacked_bytes: int = 256 * MEBIBYTE
    """All of them together, with those in these."""
    nesting: int = 3
    """How deep archives and mails may be in one another; 1 takes none that is in another."""
    ocr: Ocr = Ocr()

    @property
    def allowance(self) -> Allowance:
        """What a file that was sent by itself may unpack to."""
        return Allowance(members=self.members, unpacked_bytes=self.unpacked_bytes, nesting=self.nesting)

    def within(self, allowance: Allowance | None) -> "ConversionLimits":
        """Return the limits of a file that has a share of what its archive may unpack to."""
        if allowance is None:
            return self
        return replace(
            self,
            members=min(self.members, allowance.members),
            unpacked_bytes=min(self.unpacked_bytes, allowance.unpacked_bytes),
            nesting=min(self.nesting, allowance.nesting),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every number that a submission is measured against. Lengths are in characters unless the name says bytes."""

    document_bytes: int = 10 * MEBIBYTE
    inline_bytes: int = 4 * MEBIBYTE
    record_bytes: int = 900 * 1024
    key_length: int = 1024
    title_length: int = 500
    uri_length: int = 2048
    readers: int = 100
    reader_length: int = 200
    metadata_entries: int = 64
    metadata_value_length: int = 1024
    metadata_bytes: int = 16 * 1024
    reason_length: int = 500
    pseudonyms: int = 20_000
    """Different ones of a document: what they stand for is stored with its text."""
    save_within: timedelta = timedelta(minutes=5)
    """From the storing of a text to the saving of its version: later, its text may have been deleted as garbage."""
    kept_versions: int = 50
    kept_steps: int = 100
    batch_bytes: int = 64 * MEBIBYTE
    batch_examples: int = 100_000
    waiting_offers: int = 100
    kept_dataset_versions: int = 1000
    compared_examples: int = 50_000
    conversion: ConversionLimits = ConversionLimits()

    @property
    def unsaved_after(self) -> timedelta:
        """From when on no submission can save a text any more, also where the clocks differ by some minutes."""
        return 3 * self.save_within

    @property
    def keep(self) -> Keep:
        """What documents remember."""
        return Keep(versions=self.kept_versions, steps=self.kept_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginLimits:
    """What is taken from where a source is polled."""

    max_objects: int = 100_000
    max_bytes: int = 10 * MEBIBYTE
    """Of one file."""
    timeout_s: float = 60.0
    """Until an answer begins, and between its parts."""
    wall_s: float = 600.0
    """Of a listing, and of one file."""
    max_pack_bytes: int = 256 * MEBIBYTE
    """Of the files of a commit, compressed."""
