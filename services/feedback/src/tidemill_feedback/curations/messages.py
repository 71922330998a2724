"""Mapping of curations and their examples to messages and events."""

from dataclasses import asdict

from google.protobuf.message import Message

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2 as pb
from tidemill.feedback.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_feedback.curations.crud import Overview
from tidemill_feedback.curations.domain.curation import Curation, CurationWasCompleted, Rule
from tidemill_feedback.curations.domain.example import Example, ExampleKind, Turn
from tidemill_feedback.curations.domain.ledger import Row
from tidemill_kit.mapping import from_message, to_message

TOPIC = "tidemill.feedback.curation.v1"
COMPLETED = "tidemill.feedback.curation.completed.v1"


def rule_of(message: pb.Curation) -> Rule:
    """Return the rule of a curation message."""
    return from_message(Rule, message, feedback=tuple(dict.fromkeys(message.feedback)), ignore={"id", "progress"})


def curation_message(overview: Overview) -> pb.Curation:
    """Return a curation as callers see it."""
    curation, counts = overview.curation, overview.counts
    progress = to_message(
        pb.CurationProgress, counts, curation, new_examples=counts.new, message=curation.waits_for(counts)
    )
    return to_message(pb.Curation, curation, curation.rule, progress=progress)


def refused_message(row: Row) -> pb.RefusedExample:
    """Return a correction that is no example, as callers see it."""
    return to_message(pb.RefusedExample, row.candidate, reason=row.refusal)


def curation_payload(curation: Curation, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of a curation."""
    if not isinstance(event, CurationWasCompleted):
        raise TypeError(event)
    batch = to_message(pb.ExampleBatch, event.batch.object, event.batch, kind=_unless_demonstration(event.batch.kind))
    return COMPLETED, to_message(
        events.CurationCompleted, event, seq=seq, curation=curation.id, batch=batch, new_examples=event.batch.new
    )


def example_message(example: Example) -> pb.Example:
    """Return an example as a line of a batch."""
    prompt = example.prompt
    return to_message(
        pb.Example,
        example,
        prompt,
        messages=[*map(_turn, prompt.messages)],
        earlier=[*map(_turn, prompt.earlier)],
        variables=prompt.variables or None,
        passages=[content_pb2.Passage(**asdict(passage)) for passage in prompt.passages],
        output=_turn(Turn(role="assistant", text=example.output)),
        kind=_unless_demonstration(example.kind),
        rejected=None if example.rejected is None else _turn(Turn(role="assistant", text=example.rejected)),
    )


def _unless_demonstration(kind: ExampleKind) -> ExampleKind | None:
    """Return None for the kind that all had before there were others: their lines and events stay as they are."""
    return None if kind is ExampleKind.DEMONSTRATION else kind


def _turn(turn: Turn) -> content_pb2.Message:
    role = content_pb2.Role.Value(f"ROLE_{turn.role.upper()}")
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=turn.text)])
