"""Submissions from upstream systems: CloudEvents that upsert and delete documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, InvalidInput, RequestIdReused
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    DocumentSpec,
    Fact,
    Submission,
    SubmissionChannel,
    check_size,
    document_id,
    document_key,
    media_type_of,
)
from tidemill_ingest.documents.outcomes import counted
from tidemill_ingest.documents.reject_submission import RejectCommand, RejectSubmission
from tidemill_ingest.errors import EventsNotRegistered, PseudonymsNotKept
from tidemill_ingest.limits import Limits
from tidemill_ingest.projects import Projects
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import FindSource
from tidemill_kit.events.bodies import double
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Route, Subscription, Verify
from tidemill_kit.store.envelope import EncryptionKeyMissing

_log = structlog.get_logger(__name__)

NAME = "ingest.submissions"
TOPIC = "tidemill.ingest.submission.v1"
UPSERTED = "tidemill.ingest.submission.document_upserted.v1"
DELETED = "tidemill.ingest.submission.document_deleted.v1"
_GREATEST_REVISION = 2**63 - 1


def _whole_number(value: object) -> object:
    """Take a 64-bit integer as proto-JSON writes it: a number, or a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value


Revision = Annotated[int, BeforeValidator(_whole_number), Field(strict=True, ge=0, le=_GREATEST_REVISION)]


class DocumentUpserted(BaseModel):
    """The body of document_upserted; a field that is not here is refused by its name."""

    model_config = ConfigDict(extra="forbid")

    revision: Revision = 0
    media_type: StrictStr
    text: StrictStr
    title: StrictStr = ""
    uri: StrictStr = ""
    language: StrictStr = ""
    readers: list[StrictStr] = Field(default_factory=list)
    metadata: dict[StrictStr, StrictBool | StrictStr | StrictInt | StrictFloat] = Field(default_factory=dict)


class DocumentDeleted(BaseModel):
    """The body of document_deleted."""

    model_config = ConfigDict(extra="forbid")

    revision: Revision = 0
    erase: StrictBool = False
    reason: StrictStr = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submissions:
    """Handles what comes from Kafka.

    Content that can never be taken ends as document.rejected; what is no submission at all, as a dead letter too.
    """

    find_source: FindSource
    accept: AcceptDocument
    delete: DeleteDocument
    reject: RejectSubmission
    limits: Limits
    projects: Projects

    def subscription(self, topics: Sequence[str], *, verify: Verify | None = None) -> Subscription:
        """Return what to listen to. Submissions of one document are handled in their order."""
        return Subscription(
            name=NAME,
            topics=tuple(topics),
            delivery=Delivery.ONCE,
            strict=True,
            verify=verify,
            order_by=_document,
            refused=self.refused,
            check_size=self.check_size,
            routes={
                UPSERTED: Route(DocumentUpserted, self.upserted),
                DELETED: Route(DocumentDeleted, self.deleted),
            },
        )

    def check_size(self, size: int) -> None:
        """Refuse a record of so many bytes.

        Raises:
            DocumentTooLarge: names the way for large documents.

        """
        instead = "upload it with DocumentService.UploadDocument, which takes up to"
        instead = f"{instead} {self.limits.document_bytes} bytes"
        check_size(size, field="data", limit=self.limits.record_bytes, instead=instead)

    async def upserted(self, context: EventContext, body: DocumentUpserted) -> None:
        """Take a document in, unless it was sent before the document was erased: the consumer can be behind that.

        Raises:
            EventsNotRegistered: no source of the event's project takes these events.
            DependencyUnavailable: the operator's key is missing, without which there are no pseudonyms; it is waited
                for, as nothing is wrong with the submission.

        """
        source = await self.find_source(context.caller, context.source)
        document = document_id(context.project, source.id, context.subject)
        until = await self.projects.erased_until(context.project, document)
        if until is not None and context.time <= until:
            _log.info("submission_dropped", project=context.project, document=document, why="it was erased since")
            return
        try:
            counted(SubmissionChannel.KAFKA, await self.accept(context.caller, _command(source, context, body)))
        except InvalidInput as error:
            await self._reject(source.id, context, error)
        except (EncryptionKeyMissing, PseudonymsNotKept) as error:
            raise DependencyUnavailable(error.message, dependency="keys of pseudonyms") from error

    async def deleted(self, context: EventContext, body: DocumentDeleted) -> None:
        """Delete a document, also one that never came.

        Raises:
            EventsNotRegistered: no source of the event's project takes these events.

        """
        source = await self.find_source(context.caller, context.source)
        command = DeleteCommand(
            name=DocumentName(source=source.id, key=context.subject),
            submission=_submission(context),
            request=context.request,
            revision=body.revision,
            erase=body.erase,
            reason=body.reason,
            unknown_too=True,
            source=source,
        )
        try:
            counted(SubmissionChannel.KAFKA, await self.delete(context.caller, command))
        except InvalidInput as error:
            await self._reject(source.id, context, error)

    async def refused(self, refusal: Refusal) -> None:
        """Report a record that becomes a dead letter, where it names a document and its source."""
        if not refusal.named:
            return
        caller = Caller.of_publisher(refusal.project, refusal.source)
        try:
            source = await self.find_source(caller, refusal.source)
            command = RejectCommand(
                source=source.id,
                key=refusal.subject,
                reason=refusal.error.reason,
                message=refusal.error.message,
                submission=Submission(door=SubmissionChannel.KAFKA, id=refusal.id, source=refusal.source),
                request=refusal.request,
            )
            await self.reject(caller, command)
        except (EventsNotRegistered, InvalidInput):
            return  # no source, or no key to publish under: the dead letter is all

    async def _reject(self, source: str, context: EventContext, error: InvalidInput) -> None:
        """Save why, for content problems; what is wrong with the event itself goes on to the dead letters."""
        if isinstance(error, RequestIdReused):
            raise error
        command = RejectCommand(
            source=source,
            key=context.subject,
            reason=error.reason,
            message=error.message,
            submission=_submission(context),
            request=context.request,
        )
        counted(SubmissionChannel.KAFKA, await self.reject(context.caller, command))


def _command(source: Source, context: EventContext, body: DocumentUpserted) -> AcceptCommand:
    spec = DocumentSpec(
        source=source.id,
        key=context.subject,
        media_type=media_type_of(body.media_type),
        title=body.title,
        uri=body.uri,
        language=body.language,
        readers=tuple(body.readers),
        metadata={name: _fact(value) for name, value in body.metadata.items()},
        revision=body.revision,
    )
    return AcceptCommand(
        spec=spec, content=body.text.encode(), submission=_submission(context), request=context.request, source=source
    )


def _submission(context: EventContext) -> Submission:
    return Submission(door=SubmissionChannel.KAFKA, id=context.id, source=context.source)


def _fact(value: str | float | bool) -> Fact:  # noqa: FBT001 - a value of metadata
    """Return whole numbers as a Struct has them, so that the same facts have one digest at every API."""
    return value if isinstance(value, bool | str) else double(value)


def _document(event: CloudEvent) -> str:
    return f"{event.project}\n{event.source}\n{document_key(event.subject)}"
