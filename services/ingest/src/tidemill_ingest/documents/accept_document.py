"""Take a document in, by whichever API it comes."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import Conflict, NotFound, TidemillError
from tidemill_ingest.documents.domain.document import Document, DocumentState, Keep, SubmissionFacts
from tidemill_ingest.documents.domain.submission import (
    DocumentSpec,
    Submission,
    SubmissionChannel,
    check_size,
    document_id,
    document_key,
)
from tidemill_ingest.documents.domain.version import Draft, Provenance
from tidemill_ingest.documents.ports import Documents, Preparation, Prepared, Quarantine, Sources, Texts
from tidemill_ingest.documents.save_once import save_once
from tidemill_ingest.errors import DocumentNotFound
from tidemill_ingest.limits import Limits
from tidemill_ingest.sources.domain import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptCommand:
    """`must_exist` and `etag` are for updates: the document must be active, and still what the caller read."""

    spec: DocumentSpec
    content: bytes
    submission: Submission
    request: Request
    validate_only: bool = False
    must_exist: bool = False
    etag: str = ""


class _TextNeededError(Exception):
    """What was to be ignored makes a version after all, because the document changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptDocument:
    """Emits DocumentWasIngested or DocumentWasUpdated, or nothing where the submission changes nothing.

    The order is the law: bytes to quarantine, masked text to the exchange bucket, state and event in one save, then
    the quarantined bytes go, then the reply. The same request again returns the same document and has no effect.
    """

    sources: Sources
    documents: Documents
    preparation: Preparation
    quarantine: Quarantine
    texts: Texts
    clock: Clock
    limits: Limits

    async def __call__(self, caller: Caller, command: AcceptCommand) -> Document:
        """Return the document as it is then.

        Raises:
            InvalidInput: a field breaks its rule; as DocumentRefused where the content itself does.
            SourceNotFound: the caller's project has no such source.
            DocumentNotFound: it must exist and does not.
            Conflict: it changed since the etag.

        """
        spec = command.spec
        spec.check(self.limits)
        self._check_size(command)
        source = await self.sources.get(caller.project, spec.source)
        facts = SubmissionFacts(
            revision=spec.revision, body_digest=spec.digest(command.content), masking=source.masking.names
        )
        fresh = self._fresh(caller.project, spec)
        stored = await self._stored(fresh)
        if command.validate_only:
            return await self._preview(stored, source, command, facts)
        if stored.reason_to_ignore(facts) or _objection(stored, command):
            # Asked of the store all the same: it knows whether this request was answered before.
            without_text = self._change(command, facts, None)
            with suppress(_TextNeededError):
                return await self._save(fresh, without_text, command)
        return await self._with_text(fresh, source, command, facts)

    async def _with_text(
        self, fresh: Document, source: Source, command: AcceptCommand, facts: SubmissionFacts
    ) -> Document:
        spec, project = command.spec, fresh.project
        async with self.quarantine.hold(project, command.content):
            prepared = await self.preparation.prepare(project, spec, command.content, masking=source.masking)
            ref = await self.texts.put(project, fresh.id, prepared, spec, submission_id=command.submission.id)
            change = self._change(command, facts, _draft(prepared, ref, command, facts))
            document = await self._save(fresh, change, command)
            if ref.key in document.texts.given_up:
                # The same request again, after an erasure: it must not bring the text back.
                await self.texts.delete([ref.key])
            return document

    async def _preview(
        self, stored: Document, source: Source, command: AcceptCommand, facts: SubmissionFacts
    ) -> Document:
        """Return the document as it would be; nothing is stored, so its object has no place."""
        prepared = await self.preparation.prepare(stored.project, command.spec, command.content, masking=source.masking)
        nowhere = ObjectRef(bucket="", key="", size=0, sha256="")
        preview = deepcopy(stored)
        self._change(command, facts, _draft(prepared, nowhere, command, facts))(preview)
        preview.pending = []
        return preview

    def _change(
        self, command: AcceptCommand, facts: SubmissionFacts, draft: Draft | None
    ) -> Callable[[Document], None]:
        now = self.clock.now()

        def change(document: Document) -> None:
            document.keep = self._keep
            if objection := _objection(document, command):
                raise objection
            if why := document.reason_to_ignore(facts):
                document.ignore(facts, command.submission, why=why, now=now)
            elif draft is None:
                raise _TextNeededError
            else:
                document.accept(draft, now=now)

        return change

    async def _save(self, fresh: Document, change: Callable[[Document], None], command: AcceptCommand) -> Document:
        return await save_once(
            self.documents, fresh, change, command.submission, request=command.request, now=self.clock.now()
        )

    def _check_size(self, command: AcceptCommand) -> None:
        inline = command.submission.door is SubmissionChannel.GRPC
        limit = self.limits.inline_bytes if inline else self.limits.document_bytes
        instead = "send it with UploadDocument" if inline else "split it into several documents"
        check_size(len(command.content), field="content", limit=limit, instead=instead)

    def _fresh(self, project: str, spec: DocumentSpec) -> Document:
        return fresh_document(project, spec.source, spec.key, keep=self._keep)

    @property
    def _keep(self) -> Keep:
        return Keep(versions=self.limits.kept_versions, steps=self.limits.kept_steps)

    async def _stored(self, fresh: Document) -> Document:
        try:
            return await self.documents.get(fresh.project, fresh.id)
        except NotFound:
            return fresh


def fresh_document(project: str, source: str, key: str, *, keep: Keep) -> Document:
    """Return a document that is not saved yet; its id is the same at every API."""
    return Document(
        id=document_id(project, source, key), project=project, source=source, key=document_key(key), keep=keep
    )


def _objection(document: Document, command: AcceptCommand) -> TidemillError | None:
    """Return the error of an update that met something else than it expected."""
    if command.must_exist and document.state is not DocumentState.ACTIVE:
        return DocumentNotFound(f"{command.spec.key!r} of source {command.spec.source!r}")
    if command.etag and command.etag != str(document.version):
        message = f"it changed since etag {command.etag}: read it again and decide again"
        return Conflict(message, etag=document.version)
    return None


def _draft(prepared: Prepared, ref: ObjectRef, command: AcceptCommand, facts: SubmissionFacts) -> Draft:
    spec = command.spec
    provenance = Provenance(
        submission=command.submission,
        body_digest=facts.body_digest,
        masking=facts.masking,
        steps=prepared.steps,
        masked=prepared.masked,
    )
    return Draft(
        media_type=prepared.media_type,
        title=prepared.title,
        uri=prepared.uri,
        language=spec.language,
        readers=tuple(sorted(set(spec.readers))),
        metadata=prepared.metadata,
        object=ref,
        provenance=provenance,
        revision=spec.revision,
    )
