"""Golden examples: published events stay readable, and consumed events are read as published."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from services.evaluator.tests.builders import ADA, DEADLINE_S, gate_of, write
from services.evaluator.tests.harness import Evaluator
from tidemill.inference.v1 import events_pb2 as inference_events
from tidemill.trainer.v1 import events_pb2 as trainer_events
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_evaluator.errors import BASELINE_CHANGED
from tidemill_evaluator.evaluations.domain.comparison import Comparison
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.events import (
    PROMOTED,
    PROMPT_VERSION,
    PROVIDER_CHANGED,
    READY,
    REFUSED,
    REGISTERED,
    ROLLED_BACK,
    candidates,
)
from tidemill_evaluator.evaluations.mongo import EVALUATIONS
from tidemill_evaluator.evaluations.ports import Live
from tidemill_evaluator.gates.domain.gate import RetrievalRequirement
from tidemill_evaluator.gates.domain.reevaluation import Reevaluate
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTENT = ObjectRef(bucket="tidemill-evaluator-exchange", key="acme/helpdesk_truth/0", size=1, sha256="0" * 64)


def comparison(case_set: str, *, low: float, gain_above: float, at_least: int) -> Comparison:
    return Comparison(
        case_set=case_set,
        metric="rouge_l",
        cases=60,
        baseline=0.205,
        candidate=0.729,
        difference=0.524,
        low=low,
        high=0.61,
        required=True,
        gain_above=gain_above,
        at_least=at_least,
        holds=True,
        baseline_failures=0,
        candidate_failures=1,
        unanswered=2,
        not_in_time=1,
    )


def evaluation() -> Evaluation:
    return Evaluation(
        id="0c7a4f5e-6e0c-5a39-8a54-9a4c2f6d0f11",
        project="acme",
        comparing=Comparing(deployment="helpdesk", candidate="helpdesk_lora@1", gate="helpdesk_gate"),
        gate="helpdesk_gate",
        candidate="helpdesk_lora@1",
        origin="helpdesk_gate/helpdesk_lora@1",
        requester="user:ada",
    )


def running() -> Evaluation:
    begun = evaluation()
    begun.claim(1)
    begun.begin(
        baseline="smollm2@1",
        baseline_configuration="sha256:7d1f0c0e",
        dataset_version="helpdesk_sft@1",
        case_sets=[CaseSet(suite="helpdesk_truth", number=1, size=60, content=CONTENT)],
        now=NOON,
        epoch=1,
    )
    return begun


def published(of: Evaluation, *, seq: int) -> tuple[str, Message]:
    return EVALUATIONS.event(of, of.pending[-1], seq)


def started() -> tuple[str, Message]:
    return published(running(), seq=1)


def completed() -> tuple[str, Message]:
    done = running()
    evidence = [
        comparison("dataset:helpdesk_sft@1:held_out", low=0.43, gain_above=0.0, at_least=40),
        comparison("suite:helpdesk_truth@1", low=0.39, gain_above=-0.02, at_least=0),
    ]
    done.complete(evidence, now=NOON, epoch=1)
    return published(done, seq=2)


def failed() -> tuple[str, Message]:
    refused = running()
    message = "what is live in helpdesk has changed since the comparison began: it is compared anew"
    refused.fail(reason=BASELINE_CHANGED, message=message, now=NOON, epoch=1)
    return published(refused, seq=2)


def json_of(payload: Message) -> str:
    return MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@pytest.mark.parametrize("publish", [started, completed, failed])
def test_an_event_is_published_as_its_golden_example(publish: Callable[[], tuple[str, Message]]) -> None:
    ce_type, payload = publish()

    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    assert json_of(payload) + "\n" == example
    assert Parse(example, type(payload)()) == payload


class Letters:
    """Records dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Read:
    """A Kafka record."""

    partition = 0
    timestamp = 0
    key: bytes | None = None

    def __init__(self, ce_type: str, data: bytes, *, offset: int = 0, event_id: str = "e1") -> None:
        event = CloudEvent(
            id=event_id,
            source="/tidemill/neighbour",
            type=ce_type,
            subject="lora@1",
            project="acme",
            time=NOON,
            data=data,
            content_type="application/json",
            seq=1,
            traceparent="",
            extensions={},
        )
        self.topic = "tidemill.trainer.model.v1"
        self.offset = offset
        self.value: bytes | None = data
        self.headers: Sequence[tuple[str, bytes]] = to_headers(event)


def registered(version: str = "lora@1", *, offset: int = 0, event_id: str = "e1") -> Read:
    payload = trainer_events.ModelVersionRegistered(
        version=version, seq=1, model=version.partition("@")[0], base="smollm2@1", dataset_version="sft@2"
    )
    return Read(REGISTERED, json_of(payload).encode(), offset=offset, event_id=event_id)


def refused(evaluation: str, *, reason: str = BASELINE_CHANGED, event_id: str = "r1") -> Read:
    payload = inference_events.RolloutRefused(
        deployment="helpdesk", seq=4, candidate="lora@1", evaluation=evaluation, reason=reason
    )
    return Read(REFUSED, json_of(payload).encode(), event_id=event_id)


async def consume(evaluator: Evaluator, *records: Read) -> Letters:
    letters = Letters()
    batch = Engine(candidates(evaluator.triggers, evaluator.provider_changed), dead_letters=letters).take(records)
    assert await batch.wait(10)
    return letters


async def test_what_the_trainer_publishes_starts_an_evaluation_however_often_it_comes() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()

    for event_id in ("e1", "e1", "e2"):
        assert (await consume(evaluator, registered(event_id=event_id))).records == []

    (evaluation,) = await evaluator.all()
    assert (evaluation.candidate, evaluation.dataset_version) == ("lora@1", "sft@2")


async def test_a_version_as_it_was_published_before_there_was_training_is_read() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate(candidate="smollm2")
    example = (EXAMPLES / f"{REGISTERED}.json").read_bytes()
    earlier = b'{"version": "smollm2@4", "seq": "1", "model": "smollm2", "digest": "d", "total_bytes": "1"}'

    letters = await consume(evaluator, Read(REGISTERED, example), Read(REGISTERED, earlier, offset=1, event_id="e2"))

    assert letters.records == []
    assert len(await evaluator.all()) == 2


async def test_an_index_version_that_is_ready_is_evaluated_once_however_often_its_event_comes() -> None:
    evaluator = Evaluator()
    retrieval = RetrievalRequirement(suite="questions", metric="ndcg")
    await evaluator.gate_crud.create(
        ADA, replace(gate_of(candidate=""), collection="handbook", retrieval=retrieval), write()
    )
    example = (EXAMPLES / f"{READY}.json").read_bytes()

    letters = await consume(evaluator, Read(READY, example), Read(READY, example, offset=1, event_id="e2"))

    assert letters.records == []
    assert [(each.candidate, each.comparing.index) for each in await evaluator.all()] == [("handbook@2", 2)]


async def test_a_prompt_version_is_evaluated_once_however_often_its_event_comes() -> None:
    evaluator = Evaluator()
    await evaluator.gate_crud.create(ADA, replace(gate_of(candidate=""), candidate_prompt="answer"), write())
    example = (EXAMPLES / f"{PROMPT_VERSION}.json").read_bytes()

    letters = await consume(
        evaluator, Read(PROMPT_VERSION, example), Read(PROMPT_VERSION, example, offset=1, event_id="e2")
    )

    assert letters.records == []
    assert [(each.candidate, each.comparing.prompt) for each in await evaluator.all()] == [("answer@2", "answer")]


async def test_a_change_of_a_provider_makes_a_gate_due_once_however_often_its_event_comes() -> None:
    evaluator = Evaluator()
    evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model="gpt@1", deadline_s=DEADLINE_S)
    on_change = Reevaluate(on_provider_change=True)
    await evaluator.gate_crud.create(ADA, replace(gate_of(candidate="gpt"), reevaluate=on_change), write())
    example = (EXAMPLES / f"{PROVIDER_CHANGED}.json").read_bytes()

    assert (await consume(evaluator, Read(PROVIDER_CHANGED, example))).records == []
    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due == evaluator.clock.now()
    await evaluator.queue_reevaluation(ADA, "gate")
    assert (await consume(evaluator, Read(PROVIDER_CHANGED, example))).records == []

    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due is None


@pytest.mark.parametrize("ended", [PROMOTED, ROLLED_BACK])
async def test_what_was_refused_because_of_a_rollout_is_compared_again_when_that_has_ended(ended: str) -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()
    await evaluator.register()
    (first,) = await evaluator.all()
    example = (EXAMPLES / f"{ended}.json").read_bytes()

    await consume(evaluator, refused(first.id, reason="ROLLOUT_ACTIVE"))
    for event_id in ("p1", "p1", "p2"):
        assert (await consume(evaluator, Read(ended, example, event_id=event_id))).records == []

    assert sorted(each.attempt for each in await evaluator.all()) == [1, 2]


async def test_a_candidate_whose_provider_changed_is_evaluated_again_once_it_is_promoted() -> None:
    evaluator = Evaluator()
    on_change = Reevaluate(on_provider_change=True)
    await evaluator.gate_crud.create(ADA, replace(gate_of(candidate="helpdesk_lora"), reevaluate=on_change), write())
    await evaluator.provider_changed(ADA, "helpdesk_lora@1", request=Request.internal())
    rolled_back, promoted = ((EXAMPLES / f"{each}.json").read_bytes() for each in (ROLLED_BACK, PROMOTED))

    await consume(evaluator, Read(ROLLED_BACK, rolled_back, event_id="e1"))
    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due is None
    assert (await consume(evaluator, Read(PROMOTED, promoted, event_id="e2"))).records == []
    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due == evaluator.clock.now()
    await evaluator.queue_reevaluation(ADA, "gate")
    await consume(evaluator, Read(PROMOTED, promoted, event_id="e3"))

    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due is None


async def test_versions_out_of_order_each_have_their_evaluation() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()

    await consume(evaluator, registered("lora@2", event_id="e2"), registered("lora@1", offset=1))

    assert sorted(each.candidate for each in await evaluator.all()) == ["lora@1", "lora@2"]


async def test_a_rollout_refused_because_the_baseline_changed_starts_the_next_attempt_once() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()
    await evaluator.register()
    (first,) = await evaluator.all()

    await consume(evaluator, refused(first.id, reason="ROLLOUT_ACTIVE", event_id="r0"))
    assert len(await evaluator.all()) == 1
    for _ in range(2):
        await consume(evaluator, refused(first.id))

    assert sorted(each.attempt for each in await evaluator.all()) == [1, 2]


async def test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()

    letters = await consume(evaluator, Read(REGISTERED, b'{"version": 7}', event_id="e0"), registered(offset=1))

    assert len(letters.records) == 1
    assert len(await evaluator.all()) == 1
