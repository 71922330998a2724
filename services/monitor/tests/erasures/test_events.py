"""Published events equal their examples; reports are read as services publish them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from services.monitor.tests.audit.harness import event_of
from services.monitor.tests.audit.test_events import context
from services.monitor.tests.erasures.harness import ADA, Erasing, write
from services.monitor.tests.retention.test_retention import crud, store
from tidemill.monitor.v1 import erasure_events_pb2
from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import InvalidInput
from tidemill_monitor.audit.domain import DECISIONS, decision_record
from tidemill_monitor.erasures.domain.certificate import SUBMISSION_DAYS, TOPIC_DAYS
from tidemill_monitor.erasures.domain.erasure import SERVICES, Count, Report
from tidemill_monitor.erasures.events import COMPLETED, erasure_reports
from tidemill_monitor.erasures.messages import CERTIFIED, REQUESTED, erasure_payload
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.monitor import ErasureCertified, ErasureCompleted
from tidemill_monitor.events.subscription import model_of
from tidemill_monitor.holds import messages as holds
from tidemill_monitor.retention import messages as retention
from tidemill_monitor.retention.domain import RetentionKind
from tidemill_testkit.clocks import NOON

REPOSITORY = Path(__file__).parents[4]
EXAMPLES = REPOSITORY / "protos" / "examples"


def example(ce_type: str) -> dict[str, object]:
    return json.loads((EXAMPLES / f"{ce_type}.json").read_text())  # type: ignore[no-any-return]


def as_dict(payload: object) -> dict[str, object]:
    return MessageToDict(payload, preserving_proto_field_name=True)  # type: ignore[arg-type]


async def test_a_request_and_a_certification_equal_their_examples() -> None:
    erasing = Erasing()
    done = await erasing.completed(await erasing.of_user("u-17"))
    requested, certified = (erasure_payload(done, event, 1) for event in erasing.store.published)
    given = example(REQUESTED)

    assert requested[0] == REQUESTED
    assert as_dict(requested[1]) == given | {"id": done.id, "not_before": "2026-01-01T12:00:05Z"}
    assert certified[0] == CERTIFIED
    assert as_dict(certified[1]).keys() == example(CERTIFIED).keys()
    assert as_dict(certified[1])["certificate_sha256"] == done.certificate_sha256


async def test_holds_and_retention_equal_their_examples() -> None:
    erasing, stored = Erasing(), store()
    hold = await erasing.hold("case-2026-14", end_user="u-17")
    kept = await crud(stored).set(ADA, RetentionKind.ANSWERS, 30, write())

    changed = holds.hold_payload(hold, erasing.hold_store.published[0], 1)
    assert (changed[0], as_dict(changed[1])) == (holds.CHANGED, example(holds.CHANGED))
    set_to = retention.retention_payload(kept, stored.published[0], 1)
    assert (set_to[0], as_dict(set_to[1])) == (retention.CHANGED, example(retention.CHANGED))


@pytest.mark.parametrize("payload", [erasure_payload, holds.hold_payload, retention.retention_payload])
def test_other_events_are_none_of_theirs(payload: object) -> None:
    with pytest.raises(TypeError):
        payload(Aggregate(id="x", project="acme"), Event(occurred_at=NOON), 1)  # type: ignore[operator]


async def test_the_example_of_a_report_is_recorded() -> None:
    found: list[tuple[str, str, Report]] = []

    async def record(project: str, erasure: str, report: Report) -> None:
        found.append((project, erasure, report))

    route = erasure_reports(record).routes[COMPLETED]
    data = (EXAMPLES / f"{COMPLETED}.json").read_bytes()
    await route.handle(context(COMPLETED, data, service="feedback"), route.model.model_validate_json(data))

    ((project, erasure, report),) = found
    assert (project, erasure) == ("acme", example(COMPLETED)["id"])
    assert (report.service, report.counts) == (
        "feedback",
        (Count(kind="feedback", count=12), Count(kind="examples", count=3)),
    )
    assert report.complete_time > report.start_time


async def test_a_service_reports_in_no_other_s_name() -> None:
    route = erasure_reports(None).routes[COMPLETED]  # type: ignore[arg-type] # nothing is recorded
    data = (EXAMPLES / f"{COMPLETED}.json").read_bytes()

    with pytest.raises(InvalidInput, match="comes from '/tidemill/rag'"):
        await route.handle(context(COMPLETED, data, service="rag"), route.model.model_validate_json(data))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (ErasureCompleted, erasure_events_pb2.ErasureCompleted),
        (ErasureCertified, erasure_events_pb2.ErasureCertified),
    ],
)
def test_every_field_that_is_read_is_one_that_is_published(read: type, message: type) -> None:
    assert set(read.__dataclass_fields__) <= set(message.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]


def test_the_completion_is_a_decision_that_carries_the_certificate_s_digest() -> None:
    body = model_of(ErasureCertified).model_validate(example(CERTIFIED)).root

    record = decision_record(EventMeta(type=CERTIFIED, time=NOON), body, event=event_of(service="monitor"))

    assert DECISIONS[CERTIFIED] == "erasure"
    assert (record["method"], record["subject"]) == (CERTIFIED, "service:monitor")
    assert record["reply_digest"] == example(CERTIFIED)["certificate_sha256"]
    other = decision_record(
        EventMeta(type=CERTIFIED, time=NOON), replace(body, certificate_sha256=""), event=event_of(service="monitor")
    )
    assert other["reply_digest"] == ""


def test_a_certificate_states_the_retention_of_the_topics() -> None:
    topics = yaml.safe_load((REPOSITORY / "infra/kafka/topics.yaml").read_text(encoding="utf-8"))["topics"]
    days = {topic["name"]: int(topic["retention"].removesuffix("d")) for topic in topics if topic["kind"] != "state"}

    assert max(days.values()) == TOPIC_DAYS
    submissions = [name for name in days if "submission" in name]
    assert submissions
    assert {days[name] for name in submissions} == {SUBMISSION_DAYS}


def test_every_service_is_waited_for() -> None:
    assert set(SERVICES) == {each.name for each in (REPOSITORY / "services").iterdir() if (each / "src").is_dir()}
