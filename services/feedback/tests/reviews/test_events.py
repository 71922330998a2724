"""The event of a removed item equals its example, and names nothing that was said."""

from pathlib import Path

from google.protobuf.json_format import MessageToJson

from tidemill_feedback.reviews.domain.item import GIVEN, Resolution, ReviewItem, Subject, SubjectKind
from tidemill_feedback.reviews.messages import REMOVED, item_payload
from tidemill_testkit.clocks import NOON

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"


def test_a_removed_item_is_published_as_its_golden_example() -> None:
    item = ReviewItem(
        id="3f0c7a52-53b1-5f0a-8a8e-0b7a8f5d9b11",
        project="acme",
        queue="answers",
        incarnation=1,
        subject=Subject(kind=SubjectKind.INFERENCE, id="i1"),
        reason=GIVEN,
        place=0.5,
        slots=1,
        resolved=Resolution(labels=(), reviewers=("user:ada",), resolve_time=NOON),
    )

    item.remove(now=NOON)

    (event,) = item.pending
    ce_type, payload = item_payload(item, event, 2)
    written = MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert ce_type == REMOVED
    assert written + "\n" == (EXAMPLES / f"{REMOVED}.json").read_text(encoding="utf-8")


def test_an_item_that_was_not_resolved_is_removed_without_an_event() -> None:
    subject = Subject(kind=SubjectKind.DOCUMENT, id="d1")
    item = ReviewItem(
        id="i", project="acme", queue="q", incarnation=1, subject=subject, reason=GIVEN, place=0.5, slots=1
    )

    item.remove(now=NOON)

    assert item.pending == []
