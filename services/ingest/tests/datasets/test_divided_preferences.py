"""Preferences to several answers are divided as one reference."""

from services.ingest.tests.datasets.examples import examples, message
from services.ingest.tests.datasets.test_division import divided
from tidemill.content.v1.content_pb2 import ROLE_ASSISTANT, Message, Part
from tidemill.feedback.v1.curation_pb2 import EXAMPLE_KIND_PREFERENCE
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage


def preferred(question: str, answer: str, rejected: str) -> ExampleMessage:
    written = message(question, answer, name=f"{question} {rejected}")
    written.kind = EXAMPLE_KIND_PREFERENCE
    written.rejected.CopyFrom(Message(role=ROLE_ASSISTANT, parts=[Part(text=rejected)]))
    return written


def test_an_answer_that_is_preferred_to_two_others_is_two_examples_to_train_on_and_one_reference() -> None:
    bad = ("Bad", "Worse", "worse.")
    batch = [preferred(f"Question {number}", f"Answer {number}", each) for number in range(40) for each in bad]

    division = divided(examples(batch))

    assert len(division.train) == 2 * len({each.asked for each in division.train})
    assert len(division.held_out) == len({each.asked for each in division.held_out}) > 0
    assert division.duplicates == 40 + len(division.held_out)
    assert len(division.kept) + division.duplicates == division.offered
