"""An expired submission is in the same dead-letter topic as rejected ones, and can be redriven."""

from services.feedback.tests.builders import waiting
from tidemill_feedback.errors import InferenceUnknown
from tidemill_feedback.reactions.dead_letters import DeadSubmissions
from tidemill_kit.events.cloudevents import from_record
from tidemill_kit.events.records import OutgoingRecord
from tidemill_testkit.clocks import NOON


class Letters:
    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


async def test_a_dead_letter_is_the_submission_with_the_reason() -> None:
    letters = Letters()
    waits = waiting()

    await DeadSubmissions(letters, topic="tidemill.feedback.submissions.dead.v1", consumer="feedback.submissions").put(
        waits, InferenceUnknown("i1")
    )

    [letter] = letters.records
    headers = {name: value.decode() for name, value in letter.headers}
    event = from_record(letter.value, letter.headers, arrive_time=NOON)
    assert letter.topic == "tidemill.feedback.submissions.dead.v1"
    assert (event.id, event.project, event.subject, event.time) == ("r1", "acme", "i1", NOON)
    assert headers["tidemill_dead_reason"] == "INFERENCE_NOT_FOUND"
    assert headers["tidemill_dead_consumer"] == "feedback.submissions"
    assert (headers["tidemill_dead_topic"], headers["tidemill_dead_offset"]) == ("tidemill.feedback.submission.v1", "7")
