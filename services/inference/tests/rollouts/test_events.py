"""What inference receives is read as its owners publish it, and has its effect once."""

import json

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill.evaluator.v1 import evaluation_pb2
from tidemill.evaluator.v1 import events_pb2 as evaluator_events
from tidemill.feedback.v1 import events_pb2 as feedback_events
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.rollouts.domain.rollout import RolloutHasStarted
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, Outcome, StepCounts
from tidemill_inference.rollouts.events import evaluations, reactions
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Subscription
from tidemill_testkit.clocks import NOON

COMPLETED = "tidemill.evaluator.evaluation.completed.v1"
RECORDED = "tidemill.feedback.feedback.recorded.v1"


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Read:
    """A record as Kafka gives it."""

    topic = "told"
    partition = 0
    timestamp = 0
    key: bytes | None = None

    def __init__(self, ce_type: str, body: Message | bytes, *, event_id: str = "event", offset: int = 0) -> None:
        data = body if isinstance(body, bytes) else _as_published(body)
        event = CloudEvent(
            id=event_id, source="/tidemill/told", type=ce_type, subject="s", project=ADA.project, time=NOON, data=data
        )
        self.offset = offset
        self.value: bytes | None = data
        self.headers = tuple(to_headers(event))


def _as_published(body: Message) -> bytes:
    return MessageToJson(
        body, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    ).encode()


async def consume(subscription: Subscription, *records: Read) -> Letters:
    letters = Letters()
    assert await Engine(subscription, dead_letters=letters).take(records).wait(10)
    return letters


async def verdict(harness: RolloutHarness, **changes: object) -> evaluator_events.EvaluationCompleted:
    return evaluator_events.EvaluationCompleted(
        **{  # type: ignore[arg-type] # the test says what it changes
            "evaluation": "e1",
            "seq": 2,
            "gate": "helpdesk_gate",
            "deployment": "helpdesk",
            "candidate": "lora@1",
            "baseline_configuration": (await harness.deployment()).live.digest,
            "verdict": evaluation_pb2.VERDICT_PASSED,
            **changes,
        }
    )


async def test_a_passed_evaluation_starts_one_rollout_however_often_it_is_reported() -> None:
    harness = RolloutHarness()
    reported = await verdict(harness)

    again = Read(COMPLETED, reported, offset=1)
    letters = await consume(evaluations(harness.start), Read(COMPLETED, reported), again)
    await consume(evaluations(harness.start), Read(COMPLETED, reported, event_id="told by another run"))

    assert letters.records == []
    assert [type(event) for event in harness.published] == [RolloutHasStarted]


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": evaluation_pb2.VERDICT_FAILED},
        {"verdict": evaluation_pb2.VERDICT_NONE, "gate": ""},
        {"reevaluates": "e0"},
        {"verdict": evaluation_pb2.VERDICT_NOT_WORSE, "reevaluates": "e0"},
        {"gate": "another"},
        {"deployment": "gone"},
    ],
)
async def test_other_verdicts_start_nothing(changes: dict[str, object]) -> None:
    harness = RolloutHarness()

    letters = await consume(evaluations(harness.start), Read(COMPLETED, await verdict(harness, **changes)))

    assert letters.records == []
    assert harness.published == []


async def test_poison_is_a_dead_letter_and_what_follows_goes_on() -> None:
    harness = RolloutHarness()

    letters = await consume(
        evaluations(harness.start),
        Read(COMPLETED, json.dumps({"evaluation": 7}).encode(), event_id="poison"),
        Read(COMPLETED, await verdict(harness), offset=1),
    )

    assert len(letters.records) == 1
    assert [type(event) for event in harness.published] == [RolloutHasStarted]


async def test_a_trainer_that_is_down_is_waited_for() -> None:
    harness = RolloutHarness()
    harness.registry.down = DependencyUnavailable("it is down", dependency="trainer")
    letters = Letters()
    reported = Read(COMPLETED, await verdict(harness))

    batch = Engine(evaluations(harness.start), dead_letters=letters).take([reported])
    assert not await batch.wait(0.05)
    harness.registry.down = None

    assert await batch.wait(10)
    assert letters.records == []
    assert [type(event) for event in harness.published] == [RolloutHasStarted]


async def test_a_rating_counts_once_in_whatever_order_its_events_come() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    rollout = (await harness.rollout()).id

    def reaction(seq: int, **changes: object) -> Read:
        body = feedback_events.FeedbackRecorded(
            **{  # type: ignore[arg-type] # the test says what it changes
                "feedback": "f1",
                "seq": seq,
                "inference": "i1",
                "deployment": "helpdesk",
                "metric": "rating",
                "number": seq / 10,
                "rollout": rollout,
                **changes,
            }
        )
        return Read(RECORDED, body, event_id=f"{seq}{changes}", offset=seq)

    reported = [reaction(3), reaction(1), reaction(3), reaction(9, rollout=""), reaction(8, metric="correction")]
    letters = await consume(reactions(harness.react), *reported, reaction(7, number=1.5))
    await harness.outcomes.record(
        ADA.project,
        Outcome(inference="i1", rollout=rollout, step=1, variant=CANDIDATE, failed=False, total_s=1.0),
    )

    assert len(letters.records) == 1
    counts = StepCounts.of(await harness.outcomes.of_step(ADA.project, rollout, 1), shadow=False)
    assert (counts.candidate_rating, counts.candidate_rated) == (0.3, 1)
