"""Documents of files that are fetched where a source is polled."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_core.errors import AlreadyExists, InvalidInput, PermissionDenied
from tidemill_core.media_types import media_type_of
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.steps import DocumentStep
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    DocumentSpec,
    Submission,
    SubmissionChannel,
    check_size,
    document_id,
)
from tidemill_ingest.documents.outcomes import counted
from tidemill_ingest.documents.reject_submission import RejectCommand, RejectSubmission
from tidemill_ingest.errors import DocumentNotFound, DocumentRefused, OriginFailed
from tidemill_ingest.limits import Limits
from tidemill_ingest.polling.ports import Change

_GONE = "it is not where its source is polled any more"
_SPLIT = "split it into several documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledDocuments:
    """Implements `polling.ports.Submissions`."""

    accept: AcceptDocument
    delete_document: DeleteDocument
    reject: RejectSubmission
    limits: Limits

    async def upsert(self, caller: Caller, change: Change, content: bytes) -> str:
        """See `Submissions.upsert`."""
        spec = DocumentSpec(
            source=change.source.id,
            key=change.key,
            media_type=media_type_of(change.key, content),
            revision=change.revision,
        )
        command = AcceptCommand(
            spec=spec,
            content=content,
            submission=_submission(change),
            request=Request.of(change.id, b""),
            source=change.source,
        )
        try:
            counted(SubmissionChannel.POLL, await self.accept(caller, command))
        except InvalidInput as error:
            return await self._rejected(caller, change, reason=error.reason, message=error.message)
        except (AlreadyExists, PermissionDenied) as error:  # another document has the key, or readers of its own
            return error.reason
        return ""

    async def refuse_size(self, caller: Caller, change: Change, size: int) -> str:
        """See `Submissions.refuse_size`."""
        try:
            check_size(size, field="content", limit=self.limits.document_bytes, instead=_SPLIT)
        except DocumentRefused as refused:
            return await self._rejected(caller, change, reason=refused.reason, message=refused.message)
        return ""

    async def refuse_file(self, caller: Caller, change: Change, error: OriginFailed) -> None:
        """See `Submissions.refuse_file`."""
        await self._rejected(caller, change, reason=error.reason, message=error.message)

    async def deleted(self, caller: Caller, source: str, keys: Sequence[str]) -> frozenset[str]:
        """See `Submissions.deleted`."""
        ids = {key: document_id(caller.project, source, key) for key in keys}
        found = await self.reject.documents.get_many(caller.project, list(ids.values()))
        return frozenset(key for key, each in ids.items() if each in found and _stays_deleted(found[each]))

    async def delete(self, caller: Caller, change: Change) -> None:
        """See `Submissions.delete`."""
        command = DeleteCommand(
            name=DocumentName(source=change.source.id, key=change.key),
            submission=_submission(change),
            request=Request.of(change.id, b""),
            revision=change.revision,
            reason=_GONE,
            unknown_too=True,
            source=change.source,
        )
        try:
            counted(SubmissionChannel.POLL, await self.delete_document(caller, command))
        except (DocumentNotFound, InvalidInput):
            return  # another caller's document, or a key that no document can have

    async def _rejected(self, caller: Caller, change: Change, *, reason: str, message: str) -> str:
        command = RejectCommand(
            source=change.source.id,
            key=change.key,
            reason=reason,
            message=message,
            submission=_submission(change),
            request=Request.of(f"{change.id}-rejected", b""),
        )
        try:
            counted(SubmissionChannel.POLL, await self.reject(caller, command))
        except InvalidInput:  # no document can have such a key
            return reason
        return reason


def _stays_deleted(document: Document) -> bool:
    """Return whether it was deleted, and no file came back since of which only the content was refused."""
    ended = (DocumentStep.DELETED, DocumentStep.REJECTED)
    last = next((step.happened for step in reversed(document.steps) if step.happened in ended), DocumentStep.DELETED)
    return document.state is DocumentState.DELETED and last is DocumentStep.DELETED


def _submission(change: Change) -> Submission:
    return Submission(door=SubmissionChannel.POLL, id=change.id)
