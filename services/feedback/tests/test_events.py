"""Every event that feedback has ever published or taken stays readable: one golden example each."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from tidemill.feedback.v1 import feedback_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import derived_id
from tidemill_feedback.curations.domain.curation import Batch, Curation, Rule
from tidemill_feedback.curations.messages import curation_payload
from tidemill_feedback.reactions.domain.feedback import Answer, Feedback, Given
from tidemill_feedback.reactions.domain.reaction import ReactionLimits, violations
from tidemill_feedback.reactions.events import GIVEN, FeedbackGiven, InferenceCompleted, reaction_of_body
from tidemill_feedback.reactions.messages import feedback_payload, reaction_of
from tidemill_testkit.clocks import NOON

EXAMPLES = Path(__file__).parents[3] / "protos" / "examples"
INFERENCE = derived_id("acme", "inference", "q-4711")
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
WORDS = "You open the settings."


def rated() -> Feedback:
    answer = Answer(
        inference=INFERENCE,
        deployment="helpdesk",
        end_user="u-17",
        variant="candidate",
        rollout="r-3",
        live=True,
        completed=True,
        output="No idea.",
    )
    feedback = Feedback(
        id=derived_id("acme", INFERENCE, "rating", "u-17", "user"),
        project="acme",
        inference=INFERENCE,
        metric="rating",
        end_user="u-17",
        rater="user",
    )
    given = Given(number=0.25, text=WORDS, observe_time=NOON - timedelta(minutes=1))
    feedback.give(given, answer, labels={}, keep=1, now=NOON)
    return feedback


def recorded() -> tuple[str, Message]:
    feedback = rated()
    return feedback_payload(feedback, feedback.pending[0], 2)


def withdrawn() -> tuple[str, Message]:
    feedback = rated()
    feedback.withdraw(keep=1, now=NOON)
    return feedback_payload(feedback, feedback.pending[1], 2)


def completed() -> tuple[str, Message]:
    rule = Rule(dataset="helpdesk_sft", deployment="helpdesk", feedback=("correction",), new_examples=100)
    curation = Curation(id="helpdesk_sft", project="acme", rule=rule, since=NOON)
    batch = Batch(
        object=ObjectRef(
            bucket="tidemill-feedback-exchange", key=f"acme/helpdesk_sft/{SHA256}", size=204800, sha256=SHA256
        ),
        examples=180,
        new=100,
    )
    curation.begin(rule, now=NOON)
    curation.add_author("user:mia")
    curation.take(1)
    curation.complete(batch, rule=rule, number=1, epoch=1, now=NOON)
    return curation_payload(curation, curation.pending[0], 1)


@pytest.mark.parametrize("publish", [recorded, withdrawn, completed])
def test_an_event_is_published_as_its_golden_example_and_carries_no_text(
    publish: Callable[[], tuple[str, Message]],
) -> None:
    ce_type, payload = publish()

    written = MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    assert written + "\n" == example
    assert Parse(example, type(payload)()) == payload
    assert WORDS not in example


def test_a_submission_means_the_same_as_the_message_of_the_contract() -> None:
    example = (EXAMPLES / f"{GIVEN}.json").read_text(encoding="utf-8")

    body = FeedbackGiven.model_validate_json(example)

    assert reaction_of_body(body) == reaction_of(Parse(example, feedback_pb2.Feedback()))
    assert set(json.loads(example)) <= set(FeedbackGiven.model_fields)
    assert set(FeedbackGiven.model_fields) <= set(feedback_pb2.Feedback.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("value", ['"flag": false', '"category": "bought"', '"number": 4'])
def test_a_submitted_value_of_a_declared_metric_means_the_same_as_the_message(value: str) -> None:
    example = f'{{"inference": "i1", "metric": "left", {value}}}'

    read = reaction_of_body(FeedbackGiven.model_validate_json(example))

    assert read == reaction_of(Parse(example, feedback_pb2.Feedback()))


def test_a_number_beyond_all_doubles_is_out_of_the_bounds_of_a_rating() -> None:
    body = FeedbackGiven.model_validate_json(f'{{"metric": "rating", "inference": "i1", "number": {10**400}}}')

    [found] = violations(reaction_of_body(body), ReactionLimits(), observed_at=NOON, now=NOON)

    assert found.field == "number"


def test_what_inference_publishes_is_read() -> None:
    example = (EXAMPLES / "tidemill.inference.inference.completed.v1.json").read_bytes()

    assert InferenceCompleted.model_validate_json(example).inference == json.loads(example)["inference"]
