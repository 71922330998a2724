from datetime import UTC, datetime

from tidemill.ingest.v1 import document_pb2, document_service_pb2, events_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import DocumentDeleted, DocumentIngested, DocumentRejected
from tidemill_ingest.documents.domain.members import Member
from tidemill_ingest.documents.domain.steps import DocumentStep, Rejection, Step
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Boilerplate, Provenance, Text, Version
from tidemill_ingest.documents.mongo import DOCUMENTS
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.mapping import unsent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STORED = {
    "source": "cms",
    "key": "kb/1",
    "state": "active",
    "revision": 3,
    "version_count": 1,
    "versions": [
        {
            "media_type": "text/markdown",
            "title": "VPN",
            "uri": "https://kb.acme.example/1",
            "language": "en",
            "readers": ["group:a"],
            "metadata": [["a.b", "x"], ["n", 1.0], ["ok", True]],
            "object": {"bucket": "exchange", "key": "acme/d/1", "size": 7, "sha256": "s"},
            "provenance": {
                "submission": {"door": "kafka", "id": "e1", "source": "https://cms.acme.example/kb"},
                "body_digest": "b",
                "masking": ["email"],
                "steps": ["clean 3"],
                "masked": {"email": 1},
            },
            "revision": 3,
            "number": 1,
            "accepted_at": NOON,
            "superseded_at": None,
            "text": "kept",
        }
    ],
    "last_rejection": {"reason": "R", "message": "m", "submission_id": "e2", "rejected_at": NOON},
    "steps": [
        {
            "time": NOON,
            "happened": "ingested",
            "submission_id": "e1",
            "message": "",
            "version": 1,
            "seq": 1,
            "times": 1,
        }
    ],
}


def test_a_document_is_stored_under_the_names_that_it_always_had() -> None:
    identity = Identity(
        id="d", project="acme", labels={}, version=1, seq=1, create_time=NOON, update_time=NOON, deleted=False
    )
    submission = Submission(door=SubmissionChannel.KAFKA, id="e1", source="https://cms.acme.example/kb")
    version = Version(
        media_type="text/markdown",
        title="VPN",
        uri="https://kb.acme.example/1",
        language="en",
        readers=("group:a",),
        metadata={"a.b": "x", "n": 1.0, "ok": True},
        object=ObjectRef(bucket="exchange", key="acme/d/1", size=7, sha256="s"),
        provenance=Provenance(
            submission=submission, body_digest="b", masking=("email",), steps=("clean 3",), masked={"email": 1}
        ),
        revision=3,
        number=1,
        create_time=NOON,
        text=Text.KEPT,
    )
    document = Document(
        **identity.fields(),
        source="cms",
        key="kb/1",
        state=DocumentState.ACTIVE,
        revision=3,
        version_count=1,
        versions=(version,),
        last_rejection=Rejection(reason="R", message="m", submission_id="e2", reject_time=NOON),
        steps=(Step(time=NOON, happened=DocumentStep.INGESTED, submission_id="e1", version=1, seq=1),),
    )

    stored = DOCUMENTS.encode(document)
    assert stored["versions"][0].pop("restricted") is None  # added since, like these
    assert stored == {**STORED, "writer": "", "deleter": "", "withheld": ""}
    assert DOCUMENTS.decode(identity, STORED, 1) == document


def test_what_is_not_sent_of_a_document_is_what_was_left_out_on_purpose() -> None:
    kept = {"labels", "revision", "versions", "steps", "keep", "writer", "deleter", "contents"}
    assert unsent(document_pb2.Document, Document) == kept
    not_sent = {"superseded_at", "text", "restricted", "measures", "withheld", "duplicate", "released"}
    assert unsent(document_pb2.DocumentVersion, Version) == not_sent
    assert unsent(document_pb2.Provenance, Provenance) == {"submission", "masking", "quality"}
    assert unsent(document_pb2.Boilerplate, Boilerplate) == {"digest"}
    assert unsent(document_pb2.DocumentMember, Member) == {"attempts"}
    assert unsent(document_pb2.Rejection, Rejection) == set()
    assert unsent(document_service_pb2.DocumentStep, Step) == {"seq", "times"}


def test_events_send_all_that_they_have_but_for_their_time_which_is_an_attribute() -> None:
    for message, event in (
        (events_pb2.DocumentIngested, DocumentIngested),
        (events_pb2.DocumentDeleted, DocumentDeleted),
        (events_pb2.DocumentRejected, DocumentRejected),
    ):
        assert unsent(message, event) == {"occurred_at"}
