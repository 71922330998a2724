"""Every event that there is has a route, and is read as it is published."""

import re
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from services.monitor.tests.fakes import ACME, Monitor
from tidemill.evaluator.v1 import events_pb2 as evaluator_events
from tidemill.feedback.v1 import events_pb2 as feedback_events
from tidemill.inference.v1 import events_pb2 as inference_events
from tidemill.ingest.v1 import events_pb2 as ingest_events
from tidemill.rag.v1 import events_pb2 as rag_events
from tidemill.trainer.v1 import events_pb2 as trainer_events
from tidemill_kit.audit.trail import TOPIC as AUDIT_TOPIC
from tidemill_kit.erasure.erasures import REPORTS as ERASURE_REPORTS
from tidemill_kit.erasure.erasures import REQUESTS as ERASURES
from tidemill_kit.erasure.events import requests as erasures
from tidemill_kit.events.subscriptions import Subscription
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.events import audit
from tidemill_monitor.erasures.events import erasure_reports
from tidemill_monitor.events.meta import Counted, EventMeta
from tidemill_monitor.events.subscription import EVENT_TYPES, TOPICS, model_of
from tidemill_monitor.examples.events import examples
from tidemill_monitor.lineage.domain.parts import updates_of
from tidemill_monitor.lineage.events import lineage
from tidemill_monitor.usage.count_event import CountEvent
from tidemill_monitor.usage.events import usage
from tidemill_testkit.clocks import NOON

REPOSITORY = Path(__file__).parents[4]
EXAMPLES = REPOSITORY / "protos" / "examples"
EVENTS = [evaluator_events, feedback_events, inference_events, ingest_events, rag_events, trainer_events]
NOT_RECEIVED = (".submission.", ".monitor.")
"""Submissions are read by their owner only, as unmasked text goes nowhere else. Its own are no history."""


def declared() -> dict[str, type[Message]]:
    """Return the message of each event type that the protos declare."""
    found: dict[str, type[Message]] = {}
    for module in EVENTS:
        text = (REPOSITORY / "protos" / module.DESCRIPTOR.name).read_text(encoding="utf-8")
        for message, ce_type in re.findall(r"^// (\w+) is (tidemill\.[a-z_.]+\.v1)\b", text, re.MULTILINE):
            found[ce_type] = getattr(module, message)
    return found


def test_every_event_that_the_protos_declare_is_received_and_no_other() -> None:
    assert set(declared()) == set(EVENT_TYPES)


def projections(monitor: Monitor) -> list[Subscription]:
    return [lineage(monitor.record), examples(monitor.request), usage(CountEvent(max_projects=1))]


def test_the_dead_letters_of_each_projection_go_to_a_topic_that_is_declared() -> None:
    topics = yaml.safe_load((REPOSITORY / "infra/kafka/topics.yaml").read_text(encoding="utf-8"))["topics"]

    every = [
        *projections(Monitor()),
        audit(AppendRecord(chains=None)),  # type: ignore[arg-type] # nothing is handled
        erasures("monitor", None, print),  # type: ignore[arg-type] # ditto
        erasure_reports(None),  # type: ignore[arg-type] # ditto
    ]
    assert {projection.dead_letter_topic for projection in every} == {
        topic["name"] for topic in topics if topic["owner"] == "monitor" and topic["kind"] == "dead-letters"
    }


def test_every_topic_of_a_service_is_received() -> None:
    topics = yaml.safe_load((REPOSITORY / "infra/kafka/topics.yaml").read_text(encoding="utf-8"))["topics"]

    assert {topic["name"] for topic in topics if topic["kind"] == "events"} == {
        *TOPICS,
        AUDIT_TOPIC,
        ERASURES,
        ERASURE_REPORTS,
    }


def test_what_adds_nothing_to_the_history_is_chosen_by_name() -> None:
    of_any = updates_of.dispatch(object)
    skipped = {ce_type for ce_type, received in EVENT_TYPES.items() if updates_of.dispatch(received) is of_any}

    assert skipped == {ce_type for ce_type, received in EVENT_TYPES.items() if issubclass(received, Counted)}
    assert skipped == {
        "tidemill.feedback.review.removed.v1",
        "tidemill.feedback.review.resolved.v1",
        "tidemill.inference.budget.exhausted.v1",
        "tidemill.ingest.dataset.version_approved.v1",
        "tidemill.ingest.document.rejected.v1",
        "tidemill.rag.index.collection_deleted.v1",
        "tidemill.trainer.model.deleted.v1",
        "tidemill.trainer.sweep.ended.v1",
        "tidemill.trainer.derivation.ended.v1",
    }


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXAMPLES.glob("*.json")) if not any(each in path.name for each in NOT_RECEIVED)],
    ids=lambda path: path.stem,
)
async def test_an_example_is_handled(path: Path) -> None:
    monitor = Monitor()
    route = lineage(monitor.record).routes[path.stem]
    body = route.model.model_validate_json(read(path))

    await monitor.record(ACME, EventMeta(type=path.stem, time=NOON), body.root)

    counted = await monitor.graph.counts()
    assert (sum(counted.values()) == 0) == isinstance(body.root, Counted)


def read(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_every_field_that_is_read_is_one_that_is_published(ce_type: str) -> None:
    """A message with every field set is read whole: names and types are those of the contract."""
    message = declared()[ce_type]()
    published = MessageToJson(
        Parse(filled(message), type(message)()),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )

    body = model_of(EVENT_TYPES[ce_type]).model_validate_json(published).root

    fields = set(getattr(body, "__dataclass_fields__", {}))
    assert fields <= {field.name for field in message.DESCRIPTOR.fields}


def filled(message: Message) -> str:
    """Return the message with its message fields present, one level deep, and one of everything repeated."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None:
            continue
        value = getattr(message, field.name)
        (value.add() if field.is_repeated else value).SetInParent()
        if field.message_type.full_name.endswith("VersionFacts"):
            value.create_time.FromDatetime(NOON)
    return MessageToJson(message, preserving_proto_field_name=True)
