"""One thing that people wrote, known by its source and key, through all its versions.

The rules of order, the same at every API: a higher revision wins whatever arrives last; without revisions the order of
arrival counts. A revision that is not above the highest one seen is ignored, but for a deletion with exactly that
revision: so upsert and deletion of one revision end in a deletion in whichever order they come. The same content again
is ignored; it is compared with the current version only, so A, B, A makes three versions. Where its source masks other
kinds by now, the same content does make a version, also with the revision that it had.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_core.application import Caller
from tidemill_core.rights import manages, may_read, principals
from tidemill_ingest.documents.domain.events import (
    DocumentDeleted,
    DocumentIngested,
    DocumentRejected,
    DocumentUpdated,
)
from tidemill_ingest.documents.domain.members import Carrier, Contents, HeldFile
from tidemill_ingest.documents.domain.steps import DocumentStep, Rejection, Step
from tidemill_ingest.documents.domain.submission import Submission, SubmissionFacts, document_id, document_key
from tidemill_ingest.documents.domain.texts import RetainedSince, TextUse, TextUses
from tidemill_ingest.documents.domain.version import Prepared, Text, Version, known_at
from tidemill_ingest.errors import NothingWithheld, VersionNotFound
from tidemill_ingest.limits import Keep
from tidemill_ingest.quality.policy import Duplicate, Quality


class DocumentState(Enum):
    """Where a document stands."""

    NEW = "new"
    """Not saved yet."""
    ACTIVE = "active"
    DELETED = "deleted"
    REJECTED = "rejected"
    """It never had a version: every submission so far was refused."""
    WITHHELD = "withheld"
    """It has no current version, because its newest one breaks a rule of its source."""


_WITH_WORDS = frozenset({DocumentStep.REJECTED, DocumentStep.DELETED})
"""Steps whose message has words of a submission."""


@dataclass(slots=True, kw_only=True)
class Document(Aggregate):
    """A deleted document is a tombstone: it keeps its number of versions, its revision and its way."""

    source: str
    key: str
    state: DocumentState = DocumentState.NEW
    revision: int = 0
    """The highest one seen in an accepted version or a deletion."""
    version_count: int = 0
    versions: tuple[Version, ...] = ()
    """The latest ones, oldest first."""
    last_rejection: Rejection | None = None
    steps: tuple[Step, ...] = ()
    writer: str = ""
    """The subject of the credential that submitted the newest version; "" for one of Kafka."""
    deleter: str = ""
    """The same of the one that deleted it last."""
    parent: str = ""
    """The document that it is a member of; "" where it was sent by itself."""
    contents: Contents = field(default_factory=Contents)
    """The members that it has."""
    keep: Keep = field(default=Keep(versions=50, steps=100), repr=False)
    """A setting, not a state: it is not stored."""

    @classmethod
    def new(cls, project: str, source: str, key: str, *, keep: Keep) -> "Document":
        """Return a document that is not saved yet; its id is the same at every API."""
        return cls(
            id=document_id(project, source, key), project=project, source=source, key=document_key(key), keep=keep
        )

    @property
    def member_count(self) -> int:
        """How many members its newest version has."""
        return len(self.contents.members)

    @property
    def current(self) -> Version | None:
        """The current version."""
        if self.state is not DocumentState.ACTIVE:
            return None
        return next((version for version in reversed(self.versions) if not version.withheld), None)

    @property
    def withheld(self) -> Version | None:
        """The newest version, where it is not current because it breaks rules of its source."""
        return self.versions[-1] if self.versions and self.versions[-1].waits else None

    @property
    def newest(self) -> Version | None:
        """The version that was submitted last: the withheld one, else the current one."""
        return self.withheld or self.current

    def readable_by(self, caller: Caller, version: Version | None = None) -> bool:
        """Return whether the caller may read it, or that version: its readers, its writer and those who manage all.

        The readers of the newest version count for older ones as well, and who wrote the newest need not have read
        older ones. What remains of a restricted one whose text is gone names no readers any more, and is for those who
        manage all, and for who deleted it.
        """
        return manages(caller) or self.readable_to(principals(caller), version)

    def readable_to(self, names: Collection[str], version: Version | None = None) -> bool:
        """Return whether who has these principals may read it, or that version, managing nothing."""
        if not self.versions:
            return True
        newest = self.current or self.versions[-1]
        older = version if version is not None and version.number != newest.number else None
        if older is not None and (older.restricted or not may_read(names, older.readers)):
            return False
        own = {self.writer, self.deleter if self.state is DocumentState.DELETED else ""} - {""}
        wrote = not own.isdisjoint(names)
        if newest.text is not Text.KEPT and newest.restricted is not False:
            return wrote
        return wrote or may_read(names, newest.readers)

    def reason_to_ignore(self, facts: SubmissionFacts) -> str:
        """Return why a submission would change nothing, or "" where it would."""
        newest = self.newest
        if newest is not None and newest.provenance.body_digest == facts.body_digest:
            same_rules = newest.provenance.made_by(facts)
            if (same_rules and not self.contents.is_incomplete) or 0 < facts.revision < self.revision:
                return f"the content is that of version {newest.number}"
            return ""
        if 0 < facts.revision <= self.revision:
            return f"revision {facts.revision} is not above {self.revision}, the highest one seen"
        return ""

    def accept(  # noqa: PLR0913 - a version, and where it came from
        self,
        prepared: Prepared,
        *,
        ref: ObjectRef,
        facts: SubmissionFacts,
        submission: Submission,
        now: datetime,
        writer: str = "",
        carrier: Carrier | None = None,
        held: HeldFile | None = None,
    ) -> None:
        """Make it the current version, its text being in the object, unless `reason_to_ignore` has one.

        One that breaks a rule of the source is withheld: what was current stays so, unless it is the same content.
        Its members are to become documents all the same, whose bytes are `held`; it may be a member of another itself.
        """
        number = self.version_count + 1
        version = Version.of(prepared, ref=ref, facts=facts, submission=submission, number=number, now=now)
        self.version_count, self.writer = version.number, carrier.writer if carrier else writer
        parent = carrier.document if carrier else ""
        if self.parent not in ("", parent):  # the erasure of what it was inside of does not find it any more
            self._erase(self.versions)
            self._forget_words()
        self.revision, self.parent = max(self.revision, facts.revision), parent
        self.contents = self.contents.replaced(version.number, prepared.members, held)
        if version.withheld:
            self._withhold(version, now=now)
        else:
            self._supersede(now)
            self._remember(version)
            self._publish(version, now=now, message=version.note)

    def release(self, *, why: str, now: datetime) -> None:
        """Make the withheld version current, whatever rules it breaks.

        Raises:
            NothingWithheld: it has none.

        """
        if self.withheld is None:
            raise NothingWithheld(self.id, number=self.version_count)
        self._release(replace(self.withheld, released=True), why=why, now=now)

    def judge_again(self, quality: Quality, *, now: datetime) -> None:
        """Decide again whether the withheld version is withheld, by the rules of now; its measures are known."""
        version = self.withheld
        if version is not None and version.provenance.quality != quality.digest:
            self._judge(version, quality, now=now)

    def judge_duplicate(
        self, version: Version, duplicate: Duplicate | None, quality: Quality, *, now: datetime
    ) -> None:
        """Decide again about the newest version, whose original is another one than it was, or none."""
        newest = self.newest
        if newest is not None and newest.number == version.number and newest.duplicate != duplicate:
            self._judge(replace(newest, duplicate=duplicate), quality, now=now)

    def _judge(self, version: Version, quality: Quality, *, now: datetime) -> None:
        """Put the version, which is the newest one, in its place, as these rules have it."""
        if version.withheld:
            version = replace(version, provenance=replace(version.provenance, quality=quality.digest))
        # What is current stays so under rules that changed since, until it is submitted again.
        decides = version.provenance.quality == quality.digest and not version.released
        rules = quality.breaches(version.measures, version.duplicate) if decides and version.measures else ()
        judged = replace(version, withheld=rules)
        if version.withheld and not rules:
            return self._release(judged, why="no rule of its source withholds it any longer", now=now)
        self.versions = tuple(judged if each.number == judged.number else each for each in self.versions)
        if rules and not version.withheld:
            self.state, submission = DocumentState.WITHHELD, version.provenance.submission
            self.pending.append(DocumentDeleted(occurred_at=now, erased=False, submission=submission))
            self._report_withheld(judged, now=now)
        return None

    def _release(self, version: Version, *, why: str, now: datetime) -> None:
        released, current = replace(version, withheld=()), self.current
        before = tuple(each.superseded(now) if each is current else each for each in self.versions[:-1])
        self.versions = (*before, released)
        self._publish(released, now=now, step=DocumentStep.RELEASED, message=why)

    def ignore(self, facts: SubmissionFacts, submission: Submission, *, why: str, now: datetime) -> None:
        """Note a submission that changes nothing; a higher revision of the same content counts all the same."""
        self.revision, newest = max(self.revision, facts.revision), self.newest
        if newest is not None and newest.provenance.body_digest == facts.body_digest:
            seen = replace(newest, revision=max(newest.revision, facts.revision))
            self.versions = tuple(seen if each is newest else each for each in self.versions)
        self._record_ignored(submission, why=why, now=now)

    def delete(  # noqa: PLR0913 - a deletion, and where it came from
        self,
        submission: Submission,
        *,
        revision: int,
        erase: bool,
        reason: str,
        now: datetime,
        deleter: str = "",
    ) -> None:
        """Leave a tombstone, also of what never existed, so that an older upsert that comes late stays out.

        One with a revision below the highest one seen takes from what is current only what a withheld version is newer
        than. With `erase` the text of all that it is about is given up, even where a newer version stays.
        """
        outdated = 0 < revision < self.revision
        about = known_at(self.versions, revision, but=self.newest) if outdated else self.versions
        withdraws = self.current in about
        erased = erase and self._erase(about)
        if outdated and erased:
            self.contents = self.contents.erased(about[-1].number)
        if outdated and not withdraws:
            why = f"revision {revision} is below {self.revision}, the highest one seen"
            also = "; the text of versions up to it was erased" if erased else ""
            return self._record_ignored(submission, why=why + also, now=now)
        self.revision = max(self.revision, revision)
        if erase and not outdated:
            self._forget_words()
        if self.state is DocumentState.DELETED and not erased:
            return self._record_ignored(submission, why="it is deleted already", now=now)
        self._supersede(now, but=self.withheld if outdated else None)
        self.state, self.deleter = DocumentState.WITHHELD if outdated else DocumentState.DELETED, deleter
        if not outdated:
            self.contents = self.contents.emptied(self.version_count, erase=erased)
        self.pending.append(DocumentDeleted(occurred_at=now, erased=erased, submission=submission))
        self._step(DocumentStep.DELETED, submission, now=now, message=reason, seq=self._seq())
        return None

    def reject(self, submission: Submission, *, reason: str, message: str, now: datetime) -> None:
        """Remember why a submission was refused; nothing else changes."""
        if self.state is DocumentState.NEW:
            self.state = DocumentState.REJECTED
        self.last_rejection = Rejection(reason=reason, message=message, submission_id=submission.id, reject_time=now)
        event = DocumentRejected(occurred_at=now, reason=reason, message=message, submission=submission)
        self.pending.append(event)
        self._step(DocumentStep.REJECTED, submission, now=now, message=f"{reason}: {message}", seq=self._seq())

    def version_numbered(self, number: int) -> Version:
        """Return a version, 0 being the current one.

        Raises:
            VersionNotFound: it is not known, or not any more.

        """
        version = self.known_version(number) if number else self.current
        if version is None:
            raise VersionNotFound(self.id, number=number, known=[each.number for each in self.versions])
        return version

    def known_version(self, number: int) -> Version | None:
        """Return the version with this number, None where it is not known, or not any more."""
        return next((version for version in self.versions if version.number == number), None)

    def was_erased(self, number: int) -> bool:
        """Return whether a version was erased; one that is no longer remembered went with any later one."""
        if version := self.known_version(number):
            return version.text is Text.ERASED
        return any(each.number > number for each in self.versions if each.text is Text.ERASED)

    def repeat(self, submission: Submission, *, now: datetime) -> None:
        """Record an event that came before, which explains why a later change had no effect."""
        why = "an event with this id was handled before: a later change needs an id of its own"
        self._record_ignored(submission, why=why, now=now)

    def expire(self, since: RetainedSince) -> None:
        """Give up the text of versions whose retention ended."""
        uses = self.texts
        self.versions = tuple(
            version.without_text(Text.EXPIRED) if uses.is_past(use, since) else version
            for version, use in zip(self.versions, uses.uses, strict=True)
        )

    @property
    def says_something(self) -> bool:
        """Return whether anything is left that `erase` removes."""
        stated = any(step.message and step.happened in _WITH_WORDS for step in self.steps)
        kept = any(version.text is not Text.ERASED for version in self.versions)
        return self.state is not DocumentState.DELETED or kept or stated or self.last_rejection is not None

    def erase(self, submission: Submission, *, now: datetime) -> None:
        """Leave a tombstone that says nothing of what people wrote: neither texts nor the words of reasons."""
        self.delete(submission, revision=0, erase=True, reason="", now=now)

    def _forget_words(self) -> None:
        self.last_rejection = None
        self.steps = tuple(replace(step, message="") if step.happened in _WITH_WORDS else step for step in self.steps)

    @property
    def texts(self) -> TextUses:
        """What the versions say of their texts."""
        uses = (TextUse(each.object.key, each.text, each.superseded_at) for each in self.versions)
        return TextUses(self.source, tuple(uses), deleted=self.state is DocumentState.DELETED)

    def _erase(self, about: Collection[Version]) -> bool:
        """Give up the text of these versions; say whether any had one."""
        erasable = [each for each in about if each.text is not Text.ERASED]
        self.versions = tuple(v.without_text(Text.ERASED) if v in erasable else v for v in self.versions)
        return bool(erasable)

    def _supersede(self, now: datetime, *, but: Version | None = None) -> None:
        """Let no version be current or withheld any more, but for one."""
        self.versions = tuple(
            each.superseded(now) if each is not but and each in (self.current, self.withheld) else each
            for each in self.versions
        )

    def _remember(self, version: Version) -> None:
        """Add the newest version; the current one is not forgotten, however many were withheld since."""
        current = self.current
        kept = (*self.versions, version)[-self.keep.versions :]
        self.versions = kept if current is None or current in kept else (current, *kept)

    def _publish(self, version: Version, *, now: datetime, step: DocumentStep | None = None, message: str = "") -> None:
        was_active, submission = self.state is DocumentState.ACTIVE, version.provenance.submission
        self.state = DocumentState.ACTIVE
        event = DocumentUpdated if was_active else DocumentIngested
        self.pending.append(event(occurred_at=now, version=version, submission=submission))
        happened = step or (DocumentStep.UPDATED if was_active else DocumentStep.INGESTED)
        self._step(happened, submission, now=now, message=message, version=version.number, seq=self._seq())

    def _withhold(self, version: Version, *, now: datetime) -> None:
        submission, current = version.provenance.submission, self.current
        if current is not None and current.provenance.body_digest == version.provenance.body_digest:
            self.pending.append(DocumentDeleted(occurred_at=now, erased=False, submission=submission))
            current = None
        self._supersede(now, but=current)
        self._remember(version)
        if current is None:
            self.state = DocumentState.WITHHELD
        self._report_withheld(version, now=now)

    def _report_withheld(self, version: Version, *, now: datetime) -> None:
        submission, reason = version.provenance.submission, version.withheld[0].reason
        message = "; ".join(breach.message for breach in version.withheld)
        self.pending.append(DocumentRejected(occurred_at=now, reason=reason, message=message, submission=submission))
        self._step(DocumentStep.WITHHELD, submission, now=now, message=message, version=version.number, seq=self._seq())

    def _seq(self) -> int:
        """Return the number that the store will give to the event appended last."""
        return self.seq + len(self.pending)

    def _record_ignored(self, submission: Submission, *, why: str, now: datetime) -> None:
        last = self.steps[-1] if self.steps else None
        if last is not None and last.happened is DocumentStep.IGNORED and last.message == why:
            again = replace(last, time=now, submission_id=submission.id, times=last.times + 1)
            self.steps = (*self.steps[:-1], again)
        else:
            self._step(DocumentStep.IGNORED, submission, now=now, message=why)

    def _step(  # noqa: PLR0913 - a step is a line of facts
        self,
        happened: DocumentStep,
        submission: Submission,
        *,
        now: datetime,
        message: str = "",
        version: int = 0,
        seq: int = 0,
    ) -> None:
        step = Step(time=now, happened=happened, submission_id=submission.id, message=message, version=version, seq=seq)
        self.steps = (*self.steps, step)[-self.keep.steps :]
