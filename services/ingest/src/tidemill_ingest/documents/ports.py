"""What documents need from outside."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_core.envelope import Envelope
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.domain.submission import DocumentSpec
from tidemill_ingest.documents.domain.texts import TextUses
from tidemill_ingest.documents.domain.version import MaskedText, Prepared
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.names import ModelFolder
from tidemill_ingest.members import Allowance, ReadMember
from tidemill_ingest.quality.boilerplate import BlockCounts
from tidemill_ingest.quality.fingerprint import Fingerprint
from tidemill_ingest.quality.policy import Quality

Documents = Aggregates[Document]


def ignored(key: ResourceKey) -> None:
    """Leave what is to be done to the resync."""


class Preparation(Protocol):
    """Extraction, cleaning and masking. CPU work: it never runs on the event loop."""

    async def prepare(  # noqa: PLR0913 - a document, and the rules of its source
        self,
        caller: Caller,
        spec: DocumentSpec,
        content: bytes,
        *,
        masking: Masking,
        quality: Quality | None = None,
        allowance: Allowance | None = None,
        tokens_key: bytes | None = None,
    ) -> Prepared:
        """Return what may be stored, measured where the source has rules of quality.

        The `allowance` is of a member, of which less may be unpacked. With the `tokens_key` of the project what is
        found gets pseudonyms.

        Raises:
            DocumentRefused: the bytes are no text, hold no text, or take too much work.
            NamesModelUnusable: the masking's model cannot be used.

        """
        ...

    async def read_members(
        self, project: str, content: bytes, held: HeldFile, *, paths: Collection[str], masking: Masking
    ) -> Mapping[str, ReadMember]:
        """Return the bytes of some files inside of a file, not masked yet; what is not there is left out.

        Raises:
            DocumentRefused: the file cannot be opened any more.

        """
        ...

    async def mask(self, project: str, text: str) -> str:
        """Return a short text of a user, such as the reason of a deletion, with everything masked."""
        ...


class NameModels(Protocol):
    """The models that find names, as the registry has them."""

    async def folder(self, caller: Caller, reference: str) -> ModelFolder:
        """Return a model of the caller's project on this machine's disk.

        Raises:
            NamesModelUnusable: there is none, or it is not ready, remote, damaged or too large.

        """
        ...


class NameMasking(Protocol):
    """Masks names of persons, places and organisations. CPU work: it never runs on the event loop."""

    async def mask(
        self, caller: Caller, prepared: Prepared, masking: Masking, *, tokens_key: bytes | None = None
    ) -> Prepared:
        """Return what was masked before with names masked, too, by the masking's model; or with pseudonyms for them.

        Raises:
            NamesModelUnusable: the model cannot be used.
            DocumentRefused: it takes too much work on this document.

        """
        ...


class HeldBytes(Protocol):
    """Bytes in quarantine, which go when the block ends that holds them."""

    @property
    def key(self) -> str:
        """The object's key."""
        ...

    def keep(self, *, keep: bool = True) -> None:
        """Leave them there when the block ends, for who reads them later; or not, after all."""
        ...


class Quarantine(Protocol):
    """The one place, besides the submission topics, where unmasked bytes are stored: private and expiring."""

    def hold(self, project: str, document_id: str, content: bytes) -> AbstractAsyncContextManager[HeldBytes]:
        """Store the bytes, and delete them when the block ends; what a crash leaves is swept."""
        ...

    async def get(self, key: str) -> bytes:
        """Return bytes that were kept.

        Raises:
            NotFound: they are not there any more.

        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete what was kept; what is not there is no error."""
        ...

    async def sweep(self, older_than: Callable[[str], datetime | None]) -> int:
        """Delete what is older than its project says, None keeping all, and return how many objects that were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredText:
    """One object in the exchange bucket."""

    key: str
    stored_at: datetime


class Texts(Protocol):
    """The masked texts of document versions, in ingest's exchange bucket."""

    async def put(self, project: str, document_id: str, prepared: Prepared, *, submission_id: str) -> ObjectRef:
        """Store it, whether it is there already or not: one object for every submission, whatever the text."""
        ...

    async def get(self, ref: ObjectRef) -> MaskedText:
        """Return the text with its anchors.

        Raises:
            NotFound: it is not there any more.

        """
        ...

    async def sealed_pseudonyms(self, ref: ObjectRef) -> Envelope | None:
        """Return what the pseudonyms in it stand for, encrypted; None where it has none.

        Raises:
            NotFound: it is not there any more.

        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete them; what is not there is no error."""
        ...

    async def of_document(self, project: str, document_id: str) -> Sequence[StoredText]:
        """Return the objects of one document."""
        ...

    def by_document(self, *, after: str = "") -> AsyncIterator[tuple[str, str, Sequence[StoredText]]]:
        """Yield project, document id and objects of every document that has any, after that of the object `after`."""
        ...


class Fingerprints(Protocol):
    """The fingerprints of texts, found by what they have in common; whatever their number, a call costs the same."""

    async def near(self, project: str, fingerprint: Fingerprint, *, but: str) -> Sequence[StoredFingerprint]:
        """Return a bounded number of those without an original that may be similar, but for those of one document."""
        ...

    async def of_document(self, project: str, document: str) -> Sequence[StoredFingerprint]:
        """Return those of one document."""
        ...

    async def known(self, project: str, document: str) -> bool:
        """Return whether a document has any, or is the original of others."""
        ...

    async def put(self, project: str, stored: StoredFingerprint) -> None:
        """Store it, whether it is there already or not."""
        ...

    async def remove(self, project: str, stored: StoredFingerprint) -> None:
        """Remove it; what is not there is no error."""
        ...

    async def duplicates_of(self, project: str, document: str, *, after: str = "") -> Sequence[str]:
        """Return a bounded number of the documents whose original this one is, by id, after one of them."""
        ...

    async def check(self, project: str, documents: Sequence[str], *, due: datetime) -> None:
        """Have documents checked again, not later than then."""
        ...

    async def asked(self, project: str, document: str) -> int:
        """Return how often that was asked for since it was done last."""
        ...

    async def checked(self, project: str, document: str, *, asked: int, again: datetime | None) -> None:
        """Note that it was done, unless it was asked for since; `again` is when it is to be done once more."""
        ...


class SharedBlocks(Protocol):
    """The blocks of texts, counted by the documents of a source that have them, at the same cost for any number."""

    async def put(self, project: str, source: str, document: str, digests: Sequence[str]) -> None:
        """Have these, each once, for the blocks of a document in place of those that it had."""
        ...

    async def counts(self, project: str, source: str, digests: Sequence[str]) -> BlockCounts:
        """Return how many documents of a source were counted, and how many have each of these blocks."""
        ...

    async def of_document(self, project: str, source: str, document: str) -> Sequence[str] | None:
        """Return the blocks of a document; None where it was not counted."""
        ...

    async def remove(self, project: str, source: str, document: str) -> int:
        """Count a document no longer, and return how many blocks it had; what is not there is no error."""
        ...

    async def forget(self, project: str, source: str) -> None:
        """Have nothing known of a source, at the same cost for any number; `remove_forgotten` is to remove it.

        Until that is done what is put of it does not count: it is as if it had not come yet.
        """
        ...

    async def remove_forgotten(self, project: str, source: str) -> None:
        """Remove what was counted of a source that is being forgotten, in parts; of another one it removes nothing."""
        ...


class VersionTexts(Protocol):
    """What documents say of their texts, read without the rest of them."""

    async def of(self, project: str, document_ids: Sequence[str]) -> Mapping[str, TextUses]:
        """Return it for those that there are, tombstones too."""
        ...


class Records(Protocol):
    """The documents as they are stored, for what goes without a trace."""

    async def remove_all(self, project: str) -> None:
        """Remove every document of a deleted project."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepKey:
    """The one key of the sweep, which goes through the documents of all projects."""

    project: str = ""
    key: str = "texts"


SWEEP = SweepKey()


class SweepCursor(Protocol):
    """How far the sweep is."""

    async def position(self) -> str:
        """Return the object that the sweep before came to; "" is the beginning."""
        ...

    async def advance(self, after: str, *, epoch: int) -> None:
        """Let the next sweep go on after this object, unless a later holder of the lease was here."""
        ...


class Outbox(Protocol):
    """Says what the relay has still to publish."""

    async def waiting(self, project: str, document_id: str) -> frozenset[int]:
        """Return the seqs of the document's events that are not on Kafka yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRules:
    """When unreferenced data is deleted."""

    unreferenced_after: timedelta = timedelta(days=1)
    """Longer than any submission takes from its put to its save."""
    quarantine_after: timedelta = timedelta(hours=24)
    documents: int = 50_000
    """How many one sweep goes through; the next one goes on there."""
