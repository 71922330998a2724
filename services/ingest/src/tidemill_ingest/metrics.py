"""What became of submissions, counted for operators."""

from prometheus_client import Counter

from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import SubmissionChannel

SUBMISSIONS = Counter("tidemill_ingest_submissions", "Submissions, by what became of them.", ["door", "outcome"])


def counted(door: SubmissionChannel, document: Document) -> Document:
    """Count the last step of a document, which a submission has just made, and return the document."""
    if document.steps:
        SUBMISSIONS.labels(door.value, document.steps[-1].happened.value).inc()
    return document
