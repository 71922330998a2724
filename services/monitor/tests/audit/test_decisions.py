"""Which events are recorded as decisions, and what of them."""

import json
from pathlib import Path

import pytest

from services.monitor.tests.audit.harness import event_of
from tidemill_core.audit import canonical
from tidemill_monitor.audit.domain import DECISIONS, NO_DECISIONS, decision_record
from tidemill_monitor.audit.events import audit
from tidemill_monitor.events.evaluator import EvaluationCompleted
from tidemill_monitor.events.inference import BudgetExhausted, RolloutRolledBack
from tidemill_monitor.events.meta import Counted, EventMeta
from tidemill_monitor.events.subscription import EVENT_TYPES, model_of
from tidemill_testkit.clocks import NOON

EXHAUSTED = Path(__file__).parents[4] / "protos" / "examples" / "tidemill.inference.budget.exhausted.v1.json"
OWN = {"tidemill.monitor.erasure.certified.v1"}
"""Of monitor itself; its others are calls, or what services report to it."""


def test_every_event_type_is_a_decision_or_said_to_be_none() -> None:
    assert DECISIONS.keys() | NO_DECISIONS == {*EVENT_TYPES, *OWN}
    assert not DECISIONS.keys() & NO_DECISIONS


def test_every_kind_of_automatic_decision_is_recorded() -> None:
    assert set(DECISIONS.values()) >= {"curation", "gate verdict", "promotion", "rollback", "deletion"}


def test_every_decision_has_a_route() -> None:
    assert DECISIONS.keys() < audit(None).routes.keys()  # type: ignore[arg-type] # nothing is handled


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (RolloutRolledBack(deployment="d", seq=1, rollout="r", reason="GUARDRAIL"), "GUARDRAIL"),
        (EvaluationCompleted(evaluation="e", seq=1, verdict="VERDICT_PASSED"), "passed"),
        (model_of(BudgetExhausted).model_validate_json(EXHAUSTED.read_bytes()).root, "TOKENS"),
        (Counted(), ""),
    ],
)
def test_a_decision_names_its_service_its_resource_and_its_reason(body: object, reason: str) -> None:
    event = event_of(service="inference", data=b'{"a": 1}')
    record = decision_record(EventMeta(type="tidemill.x.y.z.v1", time=NOON), body, event=event)

    assert (record["subject"], record["service"], record["resource"]) == ("service:inference", "inference", "helpdesk")
    assert (record["method"], record["outcome"], record["reason"]) == ("tidemill.x.y.z.v1", "succeeded", reason)
    assert (record["id"], record["etag_after"], len(str(record["request_digest"]))) == ("event-1", "3", 64)
    assert json.loads(canonical(record)) == record


def test_a_subject_that_is_no_id_is_named_by_a_digest() -> None:
    record = decision_record(EventMeta(type="t", time=NOON), Counted(), event=event_of(subject="a person's name"))
    assert "person" not in str(record["resource"])
