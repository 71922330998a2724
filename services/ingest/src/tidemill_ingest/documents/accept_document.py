"""Take a document in, by whichever API it comes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.resources import check_etag
from tidemill_ingest.documents.boilerplate import FindBoilerplate
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.members import Carrier, HeldFile
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    DocumentSpec,
    Submission,
    SubmissionChannel,
    SubmissionFacts,
    check_size,
)
from tidemill_ingest.documents.domain.version import Prepared, text_name
from tidemill_ingest.documents.duplicates import CompareDocuments
from tidemill_ingest.documents.ports import Documents, HeldBytes, Preparation, Quarantine, Texts, ignored
from tidemill_ingest.documents.saving import preview, save_once, stored_or
from tidemill_ingest.errors import (
    DocumentNotFound,
    DocumentRefused,
    DocumentRestricted,
    KeyTaken,
    ProjectDeleted,
    SourceNotFound,
)
from tidemill_ingest.limits import Limits
from tidemill_ingest.members import Allowance
from tidemill_ingest.profiles.domain.versions import NewVersion
from tidemill_ingest.profiles.ports import CountNewVersion
from tidemill_ingest.projects import Projects, require_project
from tidemill_ingest.pseudonyms.ports import ProjectSecret, ProjectSecrets
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptCommand:
    """`must_exist` and `etag` are for updates: the document must be active, and still what the caller read.

    `source` is given where it was found already, `carrier` for what is inside of another document.
    """

    spec: DocumentSpec
    content: bytes
    submission: Submission
    request: Request
    validate_only: bool = False
    must_exist: bool = False
    etag: str = ""
    source: Source | None = None
    carrier: Carrier | None = None

    @property
    def allowance(self) -> Allowance | None:
        """What it may unpack to."""
        return self.carrier.allowance if self.carrier else None


_NOWHERE = ObjectRef(bucket="", key="", size=0, sha256="")
"""Of a text that is not stored, because the submission is only tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a version is made of: its text, where that is, and where the bytes of its members are."""

    prepared: Prepared
    ref: ObjectRef = _NOWHERE
    held: HeldFile | None = None


class _NotHeld:
    """Implements `HeldBytes` for bytes that nothing is read from later."""

    key = ""

    def keep(self, *, keep: bool = True) -> None:
        """Do nothing: they are nowhere."""


_HAS_VERSIONS = (DocumentState.ACTIVE, DocumentState.WITHHELD)


class _TextNeededError(Exception):
    """What was to be ignored makes a version after all, because the document changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptDocument:
    """Emits DocumentIngested or DocumentUpdated, or nothing where the submission changes nothing.

    The order is the law: a file with members to quarantine, which they are read from later, masked text to the exchange
    bucket, state and event in one save, then the reply. The same request again returns the same document and has no
    effect.
    """

    sources: Sources
    documents: Documents
    preparation: Preparation
    quarantine: Quarantine
    texts: Texts
    compare: CompareDocuments
    boilerplate: FindBoilerplate
    clock: Clock
    limits: Limits
    projects: Projects
    secrets: ProjectSecrets
    profiles: CountNewVersion
    enqueue: Callable[[ResourceKey], None] = ignored
    """Called with a document whose members are to be read."""

    async def __call__(self, caller: Caller, command: AcceptCommand) -> Document:
        """Return the document as it is then.

        Raises:
            InvalidInput: a field breaks its rule; as DocumentRefused where the content itself does.
            SourceNotFound: the caller's project has no such source.
            DocumentNotFound: it must exist and does not.
            DocumentRestricted: another document has the key, which the caller does not read.
            KeyTaken: another document has the key, which is a member where this is none, or the other way round.
            Conflict: it changed since the etag.
            ProjectDeleted: the project was deleted meanwhile.

        """
        spec = command.spec
        spec.check(self.limits)
        if command.submission.door is SubmissionChannel.KAFKA:
            spec.check_text()
        self._check_size(command)
        source = command.source or await self.sources.get(caller.project, spec.source)
        fresh = Document.new(caller.project, spec.source, spec.key, keep=self.limits.keep)
        facts = SubmissionFacts(
            revision=spec.revision,
            body_digest=spec.digest(command.content),
            masking=source.masking.rules,
            quality=source.quality,
            boilerplate=await self.boilerplate.digest(source, fresh.id),
        )
        stored = await stored_or(self.documents, fresh)
        if command.validate_only:
            prepared = await self._prepared(caller, source, command, document_id=stored.id)
            duplicate = await self.compare.original_of(caller.project, stored.id, prepared, source.quality)
            facts = replace(facts, duplicate=duplicate)
            return preview(stored, self._change(caller, command, facts, _Made(prepared=prepared)))
        if stored.reason_to_ignore(facts) or not _meets(caller, stored, command):
            # Asked of the store all the same: it knows whether this request was answered before.
            without_text = self._change(caller, command, facts, None)
            with suppress(_TextNeededError):
                return await self._save(caller, fresh, without_text, command)
        return await self._with_text(caller, fresh, source, command, facts, stored=stored)

    async def _with_text(  # noqa: PLR0913 - the submission, and what is known of it
        self,
        caller: Caller,
        fresh: Document,
        source: Source,
        command: AcceptCommand,
        facts: SubmissionFacts,
        *,
        stored: Document,
    ) -> Document:
        project, is_new = fresh.project, stored is fresh
        given_up_before = stored.texts.given_up
        prepared = await self._prepared(caller, source, command, document_id=fresh.id)
        require_project(self.projects, project)
        duplicate = await self.compare.original_of(project, fresh.id, prepared, source.quality)
        facts = replace(facts, duplicate=duplicate)
        prepared = await self.boilerplate(source, fresh.id, prepared)
        async with self._held(fresh, command.content, prepared) as bytes_:
            save_until = self.clock.now() + self.limits.save_within
            ref = await self.texts.put(project, fresh.id, prepared, submission_id=command.submission.id)
            compared = not is_new and await self.compare.changing(project, fresh.id)
            await self.compare.remember(project, fresh.id, prepared, ref=ref, duplicate=duplicate)
            await self._expect(fresh, prepared, ref, command)
            held = HeldFile(object_key=bytes_.key, media_type=command.spec.media_type, allowance=command.allowance)
            change = self._change(caller, command, facts, _Made(prepared=prepared, ref=ref, held=held))

            def in_time(document: Document) -> None:
                self._check_time(save_until)
                change(document)

            # Also where this process cannot know whether it was saved: what is not needed is swept.
            bytes_.keep(keep=bool(prepared.members))
            try:
                document = await self._save(caller, fresh, in_time, command, is_new=is_new)
            except ProjectDeleted:
                bytes_.keep(keep=False)
                await self.texts.delete([ref.key])
                await self._forget(fresh)
                raise
            except TidemillError:
                if (await stored_or(self.documents, fresh)).newest is None:
                    await self._forget(fresh)
                raise
            bytes_.keep(keep=document.contents.held == held)
            self.profiles.saved(project, fresh.source)
            if document.withheld:
                document = await self._judged(caller, document, facts)
            if document.newest is None:  # the same request again, after a deletion or an erasure
                await self._forget(fresh)
            elif compared:
                await self.compare.changed(project, fresh.id)
            uses = document.texts
            # Also of the same request again, after an erasure: it must not bring the text back. What is sealed makes a
            # new object each time, which is of no other call.
            own = uses.given_up & {ref.key} if prepared.sealed_pseudonyms is None else {ref.key} - uses.kept
            if needless := (uses.given_up - given_up_before) | own:
                await self.texts.delete(sorted(needless))
            return document

    @asynccontextmanager
    async def _held(self, document: Document, content: bytes, prepared: Prepared) -> AsyncIterator[HeldBytes]:
        """Hold the bytes of a file with members; those of another one, which are not masked, are stored nowhere."""
        if prepared.members:
            async with self.quarantine.hold(document.project, document.id, content) as held:
                yield held
        else:
            yield _NotHeld()

    async def _forget(self, document: Document) -> None:
        """Remove what was kept of a text that no version has, to compare it with others and to count its blocks."""
        await self.compare.erase(document.project, document.id)
        await self.boilerplate.erase(document.project, document.source, document.id)

    async def _expect(self, fresh: Document, prepared: Prepared, ref: ObjectRef, command: AcceptCommand) -> None:
        """Have the version counted in its source's profile, if it is saved."""
        if prepared.traits is None:
            return
        said = {name: getattr(prepared, name) for name in ("title", "uri", "language", "readers")}
        version = NewVersion(
            document=fresh.id,
            text=text_name(ref),
            source=fresh.source,
            stored_at=self.clock.now(),
            traits=prepared.traits,
            media_type=prepared.media_type,
            channel=command.submission.door.value,
            masked=prepared.masked,
            fields=(
                *(name for name, fact in said.items() if fact),
                *(f"metadata.{name}" for name in prepared.metadata),
            ),
        )
        await self.profiles.expect(fresh.project, version)

    async def _judged(self, caller: Caller, document: Document, facts: SubmissionFacts) -> Document:
        """Decide again where the rules changed since they were read, as the controller may have been here before."""
        try:
            source = await self.sources.get(caller.project, document.source)
        except SourceNotFound:  # it was deleted meanwhile, and the document is saved
            return document
        if source.quality == facts.quality:
            return document
        now = self.clock.now()

        def change(each: Document) -> None:
            each.keep = self.limits.keep
            each.judge_again(source.quality, now=now)

        return await self.documents.update(
            document.project,
            document.id,
            change,
            request=Request.internal(),
            known=document,
        )

    async def _prepared(self, caller: Caller, source: Source, command: AcceptCommand, *, document_id: str) -> Prepared:
        secret = None
        if source.masking.pseudonyms:
            secret = await self.secrets.get(caller, create=not command.validate_only)
        prepared = await self.preparation.prepare(
            caller,
            command.spec,
            command.content,
            masking=source.masking,
            quality=source.quality,
            allowance=command.allowance,
            tokens_key=secret.tokens_key if secret else None,
        )
        if source.masking.reject and prepared.masked:
            found = " and ".join(f"{count} {kind}" for kind, count in prepared.masked.items())
            text = f"holds {found}, which its source refuses: remove it, or have the source mask it"
            raise DocumentRefused(reason="PERSONAL_DATA", field="content", description=text)
        if secret is None or not prepared.pseudonyms:
            return prepared
        return await self._sealed(secret, prepared, document_id, command.submission.id)

    async def _sealed(
        self, secret: ProjectSecret, prepared: Prepared, document_id: str, submission_id: str
    ) -> Prepared:
        """Return it with what its pseudonyms stand for encrypted, for this version alone."""
        number, limit = len(prepared.pseudonyms), self.limits.pseudonyms
        if number > limit:
            text = f"holds {number} different identifiers to be pseudonymised, and {limit} is the limit: split it"
            raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=text)
        sealed = await secret.seal(prepared.pseudonyms, document_id, submission_id)
        return replace(prepared, pseudonyms={}, sealed_pseudonyms=sealed)

    def _change(
        self, caller: Caller, command: AcceptCommand, facts: SubmissionFacts, made: _Made | None
    ) -> Callable[[Document], None]:
        now, writer = self.clock.now(), caller.proven_subject

        def change(document: Document) -> None:
            require_project(self.projects, document.project)
            _check(caller, document, command)
            if why := document.reason_to_ignore(facts):
                document.ignore(facts, command.submission, why=why, now=now)
            elif made is None:
                raise _TextNeededError
            else:
                document.accept(
                    made.prepared,
                    ref=made.ref,
                    facts=facts,
                    submission=command.submission,
                    now=now,
                    writer=writer,
                    carrier=command.carrier,
                    held=made.held,
                )

        return change

    async def _save(
        self,
        caller: Caller,
        fresh: Document,
        change: Callable[[Document], None],
        command: AcceptCommand,
        *,
        is_new: bool = False,
    ) -> Document:
        saved = await save_once(
            self.documents,
            fresh,
            change,
            command.submission,
            request=command.request,
            now=self.clock.now(),
            is_new=is_new,
        )
        if not saved.readable_by(caller):  # the same request again, after another caller's
            raise DocumentRestricted(str(DocumentName(source=saved.source, key=saved.key)))
        if saved.contents.pending:
            self.enqueue(ResourceKey(project=saved.project, id=saved.id))
        return saved

    def _check_time(self, save_until: datetime) -> None:
        """Refuse to save a text that was stored so long ago that it may have been deleted as one of no version."""
        if self.clock.now() > save_until:
            message = f"saving took longer than {self.limits.save_within}: send it again"
            raise DependencyUnavailable(message, dependency="mongodb")

    def _check_size(self, command: AcceptCommand) -> None:
        inline = command.submission.door is SubmissionChannel.GRPC
        limit = self.limits.inline_bytes if inline else self.limits.document_bytes
        instead = "send it with UploadDocument" if inline else "split it into several documents"
        check_size(len(command.content), field="content", limit=limit, instead=instead)


def _check(caller: Caller, document: Document, command: AcceptCommand) -> None:
    """Refuse an update that met something else than it expected, or a document that the caller does not read."""
    name, readable = str(DocumentName(source=command.spec.source, key=command.spec.key)), document.readable_by(caller)
    if command.must_exist and (document.state is not DocumentState.ACTIVE or not readable):
        raise DocumentNotFound(name)
    if not readable:
        raise DocumentRestricted(name)
    parent = command.carrier.document if command.carrier else ""
    if document.state in _HAS_VERSIONS and document.parent != parent:
        raise KeyTaken(name, parent=document.parent)
    check_etag(command.etag, document.version)


def _meets(caller: Caller, document: Document, command: AcceptCommand) -> bool:
    try:
        _check(caller, document, command)
    except TidemillError:
        return False
    return True
