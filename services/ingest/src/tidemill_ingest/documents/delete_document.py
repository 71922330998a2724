"""Delete a document, and with it the text of its versions where that is requested."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import Conflict, InvalidInput, NotFound, Violation
from tidemill_ingest.documents.accept_document import fresh_document
from tidemill_ingest.documents.crud import DocumentName, ReadDocuments
from tidemill_ingest.documents.domain.document import Document, DocumentState, Keep
from tidemill_ingest.documents.domain.submission import Submission, key_violations, too_long
from tidemill_ingest.documents.ports import Documents, Preparation, Sources, Texts
from tidemill_ingest.documents.save_once import save_once
from tidemill_ingest.errors import DocumentNotFound
from tidemill_ingest.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCommand:
    """`unknown_too`: leave a tombstone of what was never there, so that an older upsert cannot create it."""

    name: DocumentName
    submission: Submission
    request: Request
    revision: int = 0
    erase: bool = False
    reason: str = ""
    etag: str = ""
    unknown_too: bool = False
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDocument:
    """Emits DocumentWasDeleted, or nothing where a newer revision is there or nothing is left to delete.

    The record goes first, the texts after it: what a crash leaves between, the same request again or the sweep ends.
    """

    sources: Sources
    documents: Documents
    reading: ReadDocuments
    preparation: Preparation
    texts: Texts
    clock: Clock
    limits: Limits

    async def __call__(self, caller: Caller, command: DeleteCommand) -> Document:
        """Return the tombstone.

        Raises:
            InvalidInput: a field breaks its rule.
            SourceNotFound, DocumentNotFound: the caller's project has no such thing.
            Conflict: it changed since the etag.

        """
        self._check(command)
        fresh = await self._fresh(caller, command)
        reason = await self.preparation.mask(caller.project, command.reason) if command.reason else ""
        change = self._change(command, reason)
        if command.validate_only:
            preview = deepcopy(await self._stored(fresh))
            change(preview)
            preview.pending = []
            return preview
        document = await save_once(
            self.documents, fresh, change, command.submission, request=command.request, now=self.clock.now()
        )
        if given_up := document.texts.given_up:
            await self.texts.delete(sorted(given_up))
        return document

    async def _fresh(self, caller: Caller, command: DeleteCommand) -> Document:
        keep = Keep(versions=self.limits.kept_versions, steps=self.limits.kept_steps)
        if command.name.id:
            found = await self.reading.get(caller, command.name)
            return fresh_document(caller.project, found.source, found.key, keep=keep)
        await self.sources.get(caller.project, command.name.source)
        return fresh_document(caller.project, command.name.source, command.name.key, keep=keep)

    async def _stored(self, fresh: Document) -> Document:
        try:
            return await self.documents.get(fresh.project, fresh.id)
        except NotFound:
            return fresh

    def _change(self, command: DeleteCommand, reason: str) -> Callable[[Document], None]:
        now = self.clock.now()
        keep = Keep(versions=self.limits.kept_versions, steps=self.limits.kept_steps)

        def change(document: Document) -> None:
            document.keep = keep
            if document.state is DocumentState.NEW and not command.unknown_too:
                raise DocumentNotFound(str(command.name))
            if command.etag and command.etag != str(document.version):
                message = f"it changed since etag {command.etag}: read it again and decide again"
                raise Conflict(message, etag=document.version)
            document.delete(command.submission, revision=command.revision, erase=command.erase, reason=reason, now=now)

        return change

    def _check(self, command: DeleteCommand) -> None:
        command.name.check()
        violations = [] if command.name.id else [*key_violations(command.name.key, self.limits)]
        if command.revision < 0:
            text = f"is {command.revision}; send 0 (for none) or more"
            violations.append(Violation(field="revision", description=text))
        if len(command.reason) > self.limits.reason_length:
            violations.append(too_long("delete_reason", len(command.reason), self.limits.reason_length))
        if violations:
            raise InvalidInput.of(*violations)
