"""Documents of files that are fetched where a source is polled."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_core.errors import AlreadyExists, InvalidInput, PermissionDenied
from tidemill_core.media_types import media_type_of
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    DocumentSpec,
    Submission,
    SubmissionChannel,
    check_size,
)
from tidemill_ingest.documents.outcomes import counted
from tidemill_ingest.documents.reject_submission import RejectCommand, RejectSubmission
from tidemill_ingest.errors import DocumentNotFound, DocumentRefused
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
            return await self._rejected(caller, change, error)
        except (AlreadyExists, PermissionDenied) as error:  # another document has the key, or readers of its own
            return error.reason
        return ""

    async def refuse_size(self, caller: Caller, change: Change, size: int) -> str:
        """See `Submissions.refuse_size`."""
        try:
            check_size(size, field="content", limit=self.limits.document_bytes, instead=_SPLIT)
        except DocumentRefused as refused:
            return await self._rejected(caller, change, refused)
        return ""

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

    async def _rejected(self, caller: Caller, change: Change, error: InvalidInput) -> str:
        command = RejectCommand(
            source=change.source.id,
            key=change.key,
            reason=error.reason,
            message=error.message,
            submission=_submission(change),
            request=Request.of(f"{change.id}-rejected", b""),
        )
        try:
            counted(SubmissionChannel.POLL, await self.reject(caller, command))
        except InvalidInput:  # no document can have such a key
            return error.reason
        return error.reason


def _submission(change: Change) -> Submission:
    return Submission(door=SubmissionChannel.POLL, id=change.id)
