"""What became of submissions, counted for operators."""

from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import SubmissionChannel
from tidemill_ingest.metrics import SUBMISSIONS


def counted(door: SubmissionChannel, document: Document) -> Document:
    """Count the last step of a document, which a submission has just made, and return the document."""
    if document.steps:
        SUBMISSIONS.labels(door.value, document.steps[-1].happened.value).inc()
    return document
