"""Publish that a submission from Kafka was refused, and why."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import InvalidInput
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import Submission, key_violations
from tidemill_ingest.documents.ports import Documents, Preparation
from tidemill_ingest.limits import Limits
from tidemill_ingest.projects import Projects, require_project


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCommand:
    """Which document was meant, and what is wrong with the submission."""

    source: str
    key: str
    reason: str
    message: str
    submission: Submission
    request: Request
    parent: str = ""
    """The document that it is inside of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectSubmission:
    """Emits DocumentRejected: saved on the document, without bytes or a version. Once for each request."""

    documents: Documents
    preparation: Preparation
    clock: Clock
    limits: Limits
    projects: Projects

    async def __call__(self, caller: Caller, command: RejectCommand) -> Document:
        """Return the document that remembers the rejection.

        Raises:
            InvalidInput: the key itself cannot be stored.
            ProjectDeleted: the project was deleted meanwhile.

        """
        if violations := [*key_violations(command.key, self.limits)]:
            raise InvalidInput.of(*violations)
        fresh = Document.new(caller.project, command.source, command.key, keep=self.limits.keep)
        # The names of unknown fields are the sender's own words.
        message = await self.preparation.mask(caller.project, command.message[: self.limits.reason_length])
        now = self.clock.now()

        def change(document: Document) -> None:
            require_project(self.projects, document.project)
            document.keep = fresh.keep
            if document.state in (DocumentState.NEW, DocumentState.DELETED) and not document.versions:
                document.parent = command.parent
            document.reject(command.submission, reason=command.reason, message=message, now=now)

        return await self.documents.upsert(fresh, change, request=command.request)
