"""Documents: one, a page of them, one's text, one's whole way; and their deletion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound, Violation
from tidemill_core.resources import check_etag, list_all
from tidemill_core.rights import principals_of
from tidemill_ingest.documents.boilerplate import FindBoilerplate
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    Submission,
    SubmissionChannel,
    SubmissionFacts,
    document_id,
    key_violations,
    too_long,
)
from tidemill_ingest.documents.domain.version import MaskedText, Text, Version
from tidemill_ingest.documents.duplicates import CompareDocuments
from tidemill_ingest.documents.ports import Documents, Outbox, Preparation, Texts, ignored
from tidemill_ingest.documents.saving import preview, save_once, stored_or
from tidemill_ingest.errors import DocumentNotFound, KeyAmbiguous, TextGone, VersionNotFound
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.limits import Limits
from tidemill_ingest.projects import Projects, require_project
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import Sources

MAX_CHECKED = 200
"""Versions whose readers are checked by one call."""
_WHY_GONE = {
    Text.KEPT: "is not in the exchange bucket any more: submit the document again",
    Text.ERASED: "was erased",
    Text.EXPIRED: "is past the retention of its source",
}


@dataclass(frozen=True, slots=True)
class VersionName:
    """One version of a document."""

    document: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDocuments:
    """Changes nothing. Tombstones and rejected documents are found by name, and listed where asked for."""

    sources: Sources
    documents: Documents
    texts: Texts
    outbox: Outbox
    boilerplate: FindBoilerplate

    async def get(self, caller: Caller, name: DocumentName) -> Document:
        """Return the document.

        Raises:
            InvalidInput: the name is incomplete.
            DocumentNotFound: the caller's project has no such document.

        """
        name.check()
        found_by = name.id or document_id(caller.project, name.source, name.key)
        try:
            document = await self.documents.get(caller.project, found_by)
        except DocumentNotFound:
            raise DocumentNotFound(str(name)) from None
        if not document.readable_by(caller):
            raise DocumentNotFound(str(name))
        return document

    async def is_outdated(self, document: Document) -> bool:
        """Return whether the same content, sent again, would make another version: by the rules of its source now."""
        newest = document.withheld or document.current
        if newest is None:
            return False
        try:
            source = await self.sources.get(document.project, document.source)
        except NotFound:
            return False
        facts = SubmissionFacts(
            revision=0,
            body_digest=newest.provenance.body_digest,
            masking=source.masking.rules,
            quality=source.quality,
            boilerplate=await self.boilerplate.digest(source, document.id),
        )
        return not document.reason_to_ignore(facts)

    async def list(
        self, caller: Caller, page: PageRequest, *, source: str = "", parent: str = "", show_all: bool = False
    ) -> Page[Document]:
        """Return a page of documents, oldest first; only active ones, unless all are requested.

        Those that the caller does not read are left out, so that a page may have fewer than its size; so are members of
        a `parent` that are not active.
        """
        if parent:  # few, all of one source: a list of its own would be an index more for every document
            where = {"parent": parent}
        else:
            where = {"source": source} if source else {}
            where |= {} if show_all else {"state": DocumentState.ACTIVE.value}
        found = await self.documents.list(caller.project, page=page, where=where)
        shown = [each for each in found.items if show_all or each.state is DocumentState.ACTIVE]
        return replace(found, items=[document for document in shown if document.readable_by(caller)])

    async def text(self, caller: Caller, document_id: str, *, number: int) -> tuple[MaskedText, Version]:
        """Return the masked text of a version, 0 being the current one.

        Raises:
            DocumentNotFound, VersionNotFound: there is no such thing.
            TextGone: the text was erased, or its retention ended.

        """
        document, version = await self.kept_version(caller, DocumentName(id=document_id), number=number)
        try:
            return await self.texts.get(version.object), version
        except NotFound as error:
            raise self.gone(document, version) from error

    async def kept_version(self, caller: Caller, name: DocumentName, *, number: int) -> tuple[Document, Version]:
        """Return a document and a version of it whose text is kept, 0 being the current one.

        Raises:
            As `text`.

        """
        document = await self.get(caller, name)
        version = document.version_numbered(number)
        if not document.readable_by(caller, version):
            known = [each.number for each in document.versions if document.readable_by(caller, each)]
            raise VersionNotFound(document.id, number=number, known=known)
        if version.text is not Text.KEPT:
            raise self.gone(document, version)
        return document, version

    @staticmethod
    def gone(document: Document, version: Version) -> TextGone:
        """Return the error of a version whose text is not there any more."""
        return TextGone(document.id, number=version.number, why=_WHY_GONE[version.text])

    async def restricted(
        self, caller: Caller, names: Sequence[VersionName], *, principals: Sequence[str]
    ) -> Sequence[VersionName]:
        """Return which of the versions these principals, or without any the caller, may not read.

        A document that the project does not have is no secret of it.

        Raises:
            InvalidInput: there are too many.
            SpeaksForAnother: they are others' than the caller's.

        """
        if len(names) > MAX_CHECKED:
            raise InvalidInput.at(field="versions", text=f"has {len(names)}; send at most {MAX_CHECKED}")
        named = principals_of(caller, principals, field="principals")
        known = await self.documents.get_many(caller.project, list({each.document for each in names}))

        def may_be_read(name: VersionName, document: Document) -> bool:
            version = document.known_version(name.version)
            if principals or caller.via:
                return document.readable_to(named, version)
            return document.readable_by(caller, version)

        return [each for each in names if each.document in known and not may_be_read(each, known[each.document])]

    async def explain(self, caller: Caller, name: DocumentName) -> tuple[Document, frozenset[int]]:
        """Return the document and the seqs of its events that are not on Kafka yet.

        Raises:
            DocumentNotFound: the caller's project has no such document.
            KeyAmbiguous: several sources have this key, and none was named.

        """
        name.check(key_alone=True)
        document = await (self.get(caller, name) if name.id or name.source else self._by_key(caller, name.key))
        return document, await self.outbox.waiting(caller.project, document.id)

    async def _by_key(self, caller: Caller, key: str) -> Document:
        """Read the key in every source, by id: a search among all documents would be a scan."""
        sources = list_all(self.sources, caller.project, show_deleted=True)
        ids = [document_id(caller.project, source.id, key) async for source in sources]
        known = (await self.documents.get_many(caller.project, ids)).values()
        found = [document for document in known if document.readable_by(caller)]
        if not found:
            raise DocumentNotFound(repr(key))
        if len(found) > 1:
            raise KeyAmbiguous(key, sources=sorted(document.source for document in found))
        return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCommand:
    """`unknown_too`: leave a tombstone of what was never there, so that an older upsert cannot create it.

    `source` is given where it was found already.
    """

    name: DocumentName
    submission: Submission
    request: Request
    revision: int = 0
    erase: bool = False
    reason: str = ""
    etag: str = ""
    unknown_too: bool = False
    validate_only: bool = False
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDocument:
    """Emits DocumentDeleted, or nothing where a newer revision is there or nothing is left to delete.

    The record goes first, the texts after it: what a crash leaves between, the same request again or the sweep ends,
    and a check that is asked for first decides about its duplicates.
    """

    sources: Sources
    documents: Documents
    reading: ReadDocuments
    preparation: Preparation
    texts: Texts
    compare: CompareDocuments
    clock: Clock
    limits: Limits
    projects: Projects
    labels: Labels
    enqueue: Callable[[ResourceKey], None] = ignored
    """Called with a document whose members are to be deleted too."""

    async def __call__(self, caller: Caller, command: DeleteCommand) -> Document:
        """Return the tombstone.

        Raises:
            InvalidInput: a field breaks its rule.
            SourceNotFound, DocumentNotFound: the caller's project has no such thing.
            Conflict: it changed since the etag.
            PreconditionFailed: it is to be erased, and a legal hold covers it.
            ProjectDeleted: the project was deleted meanwhile.

        """
        self._check(command)
        fresh = await self._fresh(caller, command)
        if command.erase:  # a deletion from Kafka did not pass the edge, which asks of RPCs
            self.projects.check_erasure(caller.project, fresh.id)
        reason = await self.preparation.mask(caller.project, command.reason) if command.reason else ""
        change = self._change(caller, command, reason)
        if command.validate_only:
            return preview(await stored_or(self.documents, fresh), change)
        compared = await self.compare.changing(caller.project, fresh.id)
        document = await save_once(
            self.documents, fresh, change, command.submission, request=command.request, now=self.clock.now()
        )
        if command.erase and document.newest is None:  # before the texts: the sweep finds what a crash left by these
            while await self.labels.erase_document(caller.project, document.id):
                pass
        if given_up := document.texts.given_up:
            await self.texts.delete(sorted(given_up))
        if document.contents.pending:
            self.enqueue(ResourceKey(project=document.project, id=document.id))
        if document.newest is None:
            await self.compare.erase(caller.project, document.id)
            await self.reading.boilerplate.erase(caller.project, document.source, document.id)
        elif compared:  # a withheld version stays, and what was current went
            await self.compare.changed(caller.project, document.id)
        if not document.readable_by(caller):  # the same request again, after another caller's
            raise DocumentNotFound(str(command.name))
        return document

    async def _fresh(self, caller: Caller, command: DeleteCommand) -> Document:
        if command.name.id:
            found = await self.reading.get(caller, command.name)
            return Document.new(caller.project, found.source, found.key, keep=self.limits.keep)
        source = command.source or await self.sources.get(caller.project, command.name.source)
        return Document.new(caller.project, source.id, command.name.key, keep=self.limits.keep)

    def _change(self, caller: Caller, command: DeleteCommand, reason: str) -> Callable[[Document], None]:
        now, deleter = self.clock.now(), caller.proven_subject

        def change(document: Document) -> None:
            require_project(self.projects, document.project)
            is_new = document.state is DocumentState.NEW
            if (is_new and not command.unknown_too) or not document.readable_by(caller):
                raise DocumentNotFound(str(command.name))
            check_etag(command.etag, document.version)
            _check_revision(command, document)
            document.delete(
                command.submission,
                revision=command.revision,
                erase=command.erase,
                reason=reason,
                now=now,
                deleter=deleter,
            )

        return change

    def _check(self, command: DeleteCommand) -> None:
        command.name.check()
        violations = [] if command.name.id else [*key_violations(command.name.key, self.limits)]
        if command.revision < 0:
            violations.append(Violation("revision", f"is {command.revision}; send 0 (for none) or more"))
        if len(command.reason) > self.limits.reason_length:
            violations.append(too_long("delete_reason", len(command.reason), self.limits.reason_length))
        if violations:
            raise InvalidInput.of(*violations)


def _check_revision(command: DeleteCommand, document: Document) -> None:
    """Refuse a revision of a sender's own for a member, whose revisions are the versions of what it is inside of."""
    own = command.submission.door is not SubmissionChannel.MEMBER
    if command.revision and own and document.parent and document.state is not DocumentState.DELETED:
        text = (
            f"is {command.revision}, and the document is inside of document {document.parent}: send 0, or delete that"
        )
        raise InvalidInput.at(field="revision", text=text)
