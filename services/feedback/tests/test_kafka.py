"""What comes from Kafka, through the kit's engine."""

import json
from collections.abc import Mapping, Sequence

import pytest

from services.feedback.tests.builders import ADA, SFT, rating
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_feedback.curations.events import RECORDED, corrections
from tidemill_feedback.reactions.events import COMPLETED, GIVEN, Submissions, inferences
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Subscription
from tidemill_testkit.clocks import NOON

SECRET = "the words of a user"  # noqa: S105 - not of that kind


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)

    @property
    def reported(self) -> list[tuple[str, str]]:
        headers = [{name: value.decode() for name, value in record.headers} for record in self.records]
        return [(each["tidemill_dead_reason"], each["tidemill_dead_message"]) for each in headers]


class Read:
    """A record as Kafka gives it."""

    topic = "tidemill.feedback.submission.v1"
    partition = 0
    timestamp = 0
    key: bytes | None = None

    def __init__(
        self, body: Mapping[str, object], *, offset: int = 0, event_id: str = "", ce_type: str = GIVEN
    ) -> None:
        self.offset = offset
        self.value: bytes | None = json.dumps(body).encode()
        event = CloudEvent(
            id=event_id or f"e{offset}",
            source="https://app.acme.example",
            type=ce_type,
            subject=str(body.get("inference", "")),
            project="acme",
            time=NOON,
            data=self.value,
            seq=None if ce_type == GIVEN else offset + 1,
        )
        self.headers: Sequence[tuple[str, bytes]] = to_headers(event)


def submissions(harness: FeedbackHarness) -> Subscription:
    return Submissions(take=harness.take, record_bytes=2000).subscription(["tidemill.feedback.submission.v1"])


async def consume(subscription: Subscription, *records: Read) -> Letters:
    letters = Letters()
    batch = Engine(subscription, dead_letters=letters).take(records)
    assert await batch.wait(10)
    return letters


def corrected(text: str, **fields: object) -> dict[str, object]:
    output = [{"role": "ROLE_ASSISTANT", "parts": [{"text": text}]}]
    return {"inference": "i1", "metric": "correction", "correction": {"output": output}} | fields


async def test_a_submission_is_taken_in_both_ways_of_writing_proto_json() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    letters = await consume(
        submissions(harness),
        Read({"inference": "i1", "metric": "rating", "number": 1, "end_user": "u8"}, offset=0),
        Read({"inference": "i1", "metric": "rating", "number": 0.5, "endUser": "u9"}, offset=1),
        Read(corrected("It is so.", observeTime="2026-01-01T11:00:00Z", labels={"a": "b"}), offset=2),
    )

    assert letters.records == []
    given = (await harness.read.list(ADA, PageRequest())).items
    assert sorted((each.metric, each.end_user) for each in given) == [
        ("correction", "u1"),
        ("rating", "u8"),
        ("rating", "u9"),
    ]


async def test_a_duplicate_has_one_effect_and_its_id_with_another_body_is_a_dead_letter() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    good = {"inference": "i1", "metric": "rating", "number": 1}

    letters = await consume(
        submissions(harness),
        Read(good, event_id="e"),
        Read(good, event_id="e", offset=1),
        Read(good | {"number": 0}, event_id="e", offset=2),
    )

    assert [reason for reason, _ in letters.reported] == ["REQUEST_ID_REUSED"]
    assert len(harness.feedback.published) == 1


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        ({"inference": "i1", "metric": "rating", "number": 7}, "number: is 7"),
        ({"inference": "i1", "metric": "rating", "number": "1"}, "number"),
        ({"inference": "i1", "metric": "rating", "number": True}, "number"),
        ({"inference": "i1", "metric": "rating", "number": 1, "state": "FEEDBACK_STATE_RECORDED"}, "state"),
        ({"inference": "i1", "metric": "rating", "number": 1, "observe_time": 17}, "observe_time"),
        (corrected(" "), "correction: is empty"),
        (corrected(SECRET), "equals the recorded answer"),
        (corrected("x" * 2000), "bytes, and 2000 is the limit"),
        ({"inference": "i1", "metric": "correction", "correction": {"output": [{"role": "ROLE_USER"}]}}, "role"),
    ],
)
async def test_poison_is_a_dead_letter_with_its_reason_and_the_others_are_taken(
    body: dict[str, object], reported: str
) -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", output=SECRET)

    letters = await consume(
        submissions(harness),
        Read(body, offset=0),
        Read({"inference": "i1", "metric": "rating", "number": 1}, offset=1),
    )

    [(_, message)] = letters.reported
    assert reported in message
    assert SECRET not in message
    assert len(harness.feedback.published) == 1


async def test_an_answer_that_is_completed_brings_out_what_waited_for_it() -> None:
    harness = FeedbackHarness()
    await consume(submissions(harness), Read({"inference": "i1", "metric": "rating", "number": 1}))
    assert harness.feedback.published == []

    harness.inferences.put("i1")
    completed = Read({"inference": "i1", "seq": "1", "deployment": "helpdesk"}, ce_type=COMPLETED)
    letters = await consume(
        inferences(harness.match, harness.expect), completed, Read({"inference": "i9"}, ce_type=COMPLETED, offset=1)
    )

    assert letters.records == []
    assert len(harness.feedback.published) == 1
    assert harness.pending.stored == {}


async def test_a_correction_is_recorded_by_its_event_once_however_often_it_is_reported() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=2)
    await harness.work()
    lost, kept = await harness.correct(1), await harness.correct(2)
    harness.inferences.put("i3")
    rated = await harness.give(rating(1, inference="i3"))
    await harness.ledger.drop(SFT)
    harness.enqueued.clear()

    recorded = [
        Read({"feedback": each.id, "inference": each.inference, "metric": each.metric}, ce_type=RECORDED, offset=offset)
        for offset, each in enumerate((lost, kept, lost, rated))
    ]
    gone = Read({"feedback": "gone", "inference": "gone", "metric": "correction"}, ce_type=RECORDED, offset=9)
    letters = await consume(corrections(harness.record), *recorded, gone)

    assert letters.records == []
    assert harness.enqueued == [SFT, SFT]
    await harness.work()
    assert len(harness.completions) == 1


async def test_more_than_may_wait_for_one_inference_are_dead_letters_and_hold_up_nothing() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    made_up = [
        Read({"inference": "made-up", "metric": "rating", "number": 1, "end_user": f"u{number}"}, offset=number)
        for number in range(5)
    ]

    letters = await consume(
        submissions(harness), *made_up, Read({"inference": "i1", "metric": "rating", "number": 1}, offset=5)
    )

    assert [reason for reason, _ in letters.reported] == ["TOO_MANY_WAIT", "TOO_MANY_WAIT"]
    assert len(harness.feedback.published) == 1


def test_the_subscriptions_have_the_names_that_their_topics_derive_from() -> None:
    harness = FeedbackHarness()

    received = [submissions(harness), inferences(harness.match, harness.expect), corrections(harness.record)]

    assert [each.dead_letter_topic for each in received] == [
        "tidemill.feedback.submissions.dead.v1",
        "tidemill.feedback.inferences.dead.v1",
        "tidemill.feedback.corrections.dead.v1",
    ]
    assert received[0].strict
