"""How changes to documents are tried and saved: once for each request, with a trace of an event that comes again."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import datetime

from tidemill_core.application import Request, derived_id
from tidemill_core.errors import AlreadyExists
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.errors import DocumentNotFound


async def stored_or(documents: Documents, fresh: Document) -> Document:
    """Return what is stored of a document, or the fresh one."""
    try:
        return await documents.get(fresh.project, fresh.id)
    except DocumentNotFound:
        return fresh


def preview(stored: Document, change: Callable[[Document], None]) -> Document:
    """Return the document as the change would leave it; nothing is saved."""
    document = deepcopy(stored)
    change(document)
    document.pending = []
    return document


async def save_once(  # noqa: PLR0913 - what is saved, and on whose behalf
    documents: Documents,
    fresh: Document,
    change: Callable[[Document], None],
    submission: Submission,
    *,
    request: Request,
    now: datetime,
    is_new: bool = False,
) -> Document:
    """Return the document as saved; a request that was handled before changes nothing.

    A caller of gRPC knows that it asks again. A publisher that gives two events one id does not, so that these leave a
    step, once for each id. One that `is_new`, as far as the caller knows, is saved without being read before.
    """
    if is_new:
        document = deepcopy(fresh)
        change(document)
        with suppress(AlreadyExists):
            return await documents.add(document, request=request)
    handled_before = True

    def noticed(document: Document) -> None:
        nonlocal handled_before
        handled_before = False
        document.keep = fresh.keep
        change(document)

    document = await documents.upsert(fresh, noticed, request=request)
    if not handled_before or submission.door is not SubmissionChannel.KAFKA:
        return document

    def repeated(document: Document) -> None:
        document.keep = fresh.keep
        document.repeat(submission, now=now)

    trace = Request(id=derived_id(request.id, "repeated"), digest=request.digest)
    return await documents.upsert(fresh, repeated, request=trace)
