"""Rollouts that read a declared metric: from its declaration to the event that takes a candidate back."""

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.openai_api.apis import settings
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness, crud_of
from services.inference.tests.rollouts.rollout_records import note
from services.inference.tests.rollouts.test_events import RECORDED, Read, consume
from tidemill.feedback.v1 import events_pb2, feedback_metric_pb2
from tidemill.feedback.v1 import feedback_metric_service_pb2 as pb
from tidemill.feedback.v1 import feedback_metric_service_pb2_grpc as pb_grpc
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.policy import AbortRules, MetricRule, RolloutStep
from tidemill_inference.rollouts.domain.rollout import RolloutWasRolledBack
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Reason
from tidemill_inference.rollouts.events import reactions
from tidemill_inference.rollouts.feedback import FeedbackMetrics
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer

WITHDRAWN = "tidemill.feedback.feedback.withdrawn.v1"
RULE = MetricRule(metric="reopened", loss_above=0.05)
READS = replace(POLICY, steps=(replace(POLICY.steps[0]), RolloutStep(weight=50, requests=40)))
READS = replace(READS, abort=AbortRules(metrics=(RULE,)))


class Reactions:
    """What feedback publishes of the answers of one rollout."""

    def __init__(self, harness: RolloutHarness, rollout: str) -> None:
        self._harness, self._rollout, self._sent = harness, rollout, 0

    async def give(self, inference: str, score: float, *, seq: int = 1, **changes: object) -> None:
        body = {
            "feedback": f"f-{inference}",
            "seq": seq,
            "inference": inference,
            "deployment": "helpdesk",
            "metric": "reopened",
            "score": score,
            "weight": 1.0,
            "end_user": f"u-{inference}",
            "rater": "user",
            "rollout": self._rollout,
            "counts": True,
            **changes,
        }
        await self._publish(RECORDED, events_pb2.FeedbackRecorded(**body))  # type: ignore[arg-type]

    async def withdraw(self, inference: str, *, seq: int) -> None:
        body = events_pb2.FeedbackWithdrawn(
            feedback=f"f-{inference}",
            seq=seq,
            inference=inference,
            deployment="helpdesk",
            metric="reopened",
            rollout=self._rollout,
        )
        await self._publish(WITHDRAWN, body)

    async def _publish(self, ce_type: str, body: Any) -> None:  # noqa: ANN401 - an event of feedback
        self._sent += 1
        read = Read(ce_type, body, event_id=f"e{self._sent}", offset=self._sent)
        assert (await consume(reactions(self._harness.react), read)).records == []


@pytest.fixture
async def rolled() -> tuple[RolloutHarness, Reactions]:
    harness = RolloutHarness(READS)
    await harness.is_rolling(step=1)
    return harness, Reactions(harness, (await harness.rollout()).id)


async def answered(harness: RolloutHarness, count: int = 15) -> list[tuple[str, str]]:
    """Have both sides answer; return the inferences, baseline and candidate."""
    return [(await note(harness, LIVE, number), await note(harness, CANDIDATE, number)) for number in range(count)]


async def test_a_candidate_after_which_more_is_reopened_is_taken_back_and_the_last_word_of_each_counts(
    rolled: tuple[RolloutHarness, Reactions],
) -> None:
    harness, users = rolled
    for live, candidate in await answered(harness):
        await users.give(live, 1.0)
        await users.give(candidate, 1.0, seq=2)
        await users.give(candidate, 0.0, seq=1)
        await users.give(candidate, 0.0, seq=1, feedback=f"c-{candidate}", metric="another")
    await harness.tick()
    assert (await harness.rollout()).active

    for _, candidate in await answered(harness):
        await users.give(candidate, 0.0, seq=3)
    await harness.tick()

    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.METRIC
    assert event.message.startswith("reopened has a mean score of 0 in 15 values against 1 in 15 of the baseline")


async def test_evidence_is_weighed_beside_the_event_loop(
    rolled: tuple[RolloutHarness, Reactions], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, users = rolled
    threads, less = set[int](), evidence.less

    def seen(*values: Any, **limit: Any) -> float:  # noqa: ANN401 - as they are
        threads.add(threading.get_ident())
        return less(*values, **limit)

    monkeypatch.setattr(evidence, "less", seen)
    for live, candidate in await answered(harness):
        await users.give(live, 1.0)
        await users.give(candidate, 0.0)

    await harness.tick()

    assert not (await harness.rollout()).active
    assert threads
    assert threading.get_ident() not in threads


async def test_what_is_withdrawn_or_counts_no_more_is_taken_back(rolled: tuple[RolloutHarness, Reactions]) -> None:
    harness, users = rolled
    pairs = await answered(harness)
    for live, candidate in pairs:
        await users.give(live, 1.0)
        await users.give(candidate, 0.0)
    for number, (_, candidate) in enumerate(pairs):
        if number % 2:
            await users.withdraw(candidate, seq=2)
        else:
            await users.give(candidate, 0.0, seq=2, counts=False)
    await harness.tick()

    (counts,) = (await harness.count(await harness.deployment())).rollout.counts.metrics  # type: ignore[union-attr]
    assert (counts.candidate.number, counts.baseline.number) == (0, 15)
    assert (await harness.rollout()).active


async def test_values_before_their_time_count_from_it_on_without_another_event(
    rolled: tuple[RolloutHarness, Reactions],
) -> None:
    harness, users = rolled
    mature = harness.harness.clock.now() + timedelta(minutes=30)
    for live, candidate in await answered(harness):
        await users.give(live, 1.0, mature_time=mature)
        await users.give(candidate, 0.0, mature_time=mature)
    await harness.tick()
    assert (await harness.rollout()).active
    reads = harness.outcomes.reads
    await harness.tick(after=timedelta(minutes=1))
    assert harness.outcomes.reads == reads

    await harness.tick(after=timedelta(minutes=30))

    assert not (await harness.rollout()).active


async def test_values_of_conversations_are_of_no_answer(rolled: tuple[RolloutHarness, Reactions]) -> None:
    harness, users = rolled
    await note(harness, CANDIDATE, 1)

    await users.give(f"{CANDIDATE}1", 0.0, conversation="c1")

    (outcome,) = await harness.outcomes.of_step(ADA.project, (await harness.rollout()).id, 1)
    assert outcome.values == ()


async def test_what_was_said_before_its_user_was_erased_is_not_kept_where_it_comes_late(
    rolled: tuple[RolloutHarness, Reactions],
) -> None:
    harness, users = rolled
    await note(harness, CANDIDATE, 1)
    await note(harness, CANDIDATE, 2)
    harness.erased = {f"u-{CANDIDATE}1": NOON, f"u-{CANDIDATE}2": NOON - timedelta(seconds=1)}

    await users.give(f"{CANDIDATE}1", 0.0)
    await users.give(f"{CANDIDATE}2", 0.0)

    found = await harness.outcomes.of_step(ADA.project, (await harness.rollout()).id, 1)
    assert {each.inference: len(each.values) for each in found} == {f"{CANDIDATE}1": 0, f"{CANDIDATE}2": 1}


async def test_what_comes_late_takes_nothing_away_that_the_same_person_said_since(
    rolled: tuple[RolloutHarness, Reactions],
) -> None:
    harness, users = rolled
    await note(harness, CANDIDATE, 1)
    await note(harness, CANDIDATE, 2)
    await users.give(f"{CANDIDATE}1", 1.0, end_user="u1")
    harness.erased = {"u1": NOON}

    await users.give(f"{CANDIDATE}2", 0.0, end_user="u1")

    found = await harness.outcomes.of_step(ADA.project, (await harness.rollout()).id, 1)
    assert {each.inference: len(each.values) for each in found} == {f"{CANDIDATE}1": 1, f"{CANDIDATE}2": 0}


async def test_a_metric_is_asked_for_when_a_policy_names_it_first_and_not_again() -> None:
    harness = RolloutHarness()
    crud = crud_of(harness)

    async def declare(request_id: str, *metrics: str) -> None:
        rules = AbortRules(metrics=tuple(MetricRule(metric=each, at_least=3) for each in metrics))
        policy = replace(POLICY, abort=rules)
        await crud.update(
            ADA, "helpdesk", change=lambda spec: replace(spec, rollout_policy=policy), write=writing(request_id)
        )

    with pytest.raises(InvalidInput, match=r"rollout_policy.abort.metrics\[0\].metric: is reopened, which"):
        await declare("r1", "reopened")
    harness.declared.metrics = {"reopened", "solved"}
    await declare("r2", "reopened")
    harness.declared.metrics = {"solved"}
    await declare("r3", "solved", "reopened")

    assert harness.declared.asked == ["reopened", "reopened", "solved"]


@pytest.mark.parametrize(
    ("rule", "at_most", "text"),
    [
        (
            MetricRule(metric="reopened", loss_above=0.05),
            timedelta(days=30),
            "which matures after 168 h, and no step waits for its values: set at_least",
        ),
        (
            MetricRule(metric="reopened", loss_above=0.05, at_least=3),
            timedelta(days=7),
            "which matures after 168 h, and step 1 ends before that by its at_most, which is 168 h: make it longer",
        ),
        (MetricRule(metric="reopened", loss_above=0.05, at_least=3), timedelta(days=8), ""),
    ],
)
async def test_a_metric_that_matures_after_steps_have_ended_is_refused(
    rule: MetricRule, at_most: timedelta, text: str
) -> None:
    harness = RolloutHarness()
    harness.declared.metrics, harness.declared.matures_after = {"reopened"}, timedelta(days=7)
    steps = (POLICY.steps[0], replace(POLICY.steps[1], at_most=at_most))
    policy = replace(POLICY, steps=steps, abort=AbortRules(metrics=(rule,)))
    update = crud_of(harness).update(
        ADA, "helpdesk", change=lambda spec: replace(spec, rollout_policy=policy), write=writing("r1")
    )

    if not text:
        await update
        return
    with pytest.raises(InvalidInput) as refused:
        await update
    (violation,) = refused.value.violations
    assert violation.field == "rollout_policy.abort.metrics[0].metric"
    assert violation.description == f"is reopened, {text}"


class Metrics(pb_grpc.FeedbackMetricServiceServicer):
    """Feedback with five metrics, of which two compare answers."""

    def __init__(self) -> None:
        kind, level, optimise = "FEEDBACK_METRIC_KIND_", "FEEDBACK_METRIC_LEVEL_", "FEEDBACK_METRIC_OPTIMISE_"
        declared = {
            "reopened": ("BOOLEAN", "INFERENCE", "MIN"),
            "outcome": ("CATEGORY", "INFERENCE", "NONE"),
            "solved": ("BOOLEAN", "CONVERSATION", "MAX"),
            "copied": ("BOOLEAN", "INFERENCE", "NONE"),
        }
        self.found = {
            name: feedback_metric_pb2.FeedbackMetric(
                id=name,
                kind=feedback_metric_pb2.FeedbackMetricKind.Value(kind + of),
                level=feedback_metric_pb2.FeedbackMetricLevel.Value(level + at),
                optimise=feedback_metric_pb2.FeedbackMetricOptimise.Value(optimise + way),
            )
            for name, (of, at, way) in declared.items()
        }
        category = self.found["outcome"].kind
        self.found["ended"] = feedback_metric_pb2.FeedbackMetric(id="ended", kind=category, good_choices=["bought"])
        self.found["reopened"].matures_after.FromTimedelta(timedelta(days=7))

    async def GetFeedbackMetric(  # noqa: N802 - the contract's name
        self, request: pb.GetFeedbackMetricRequest, _context: object
    ) -> pb.GetFeedbackMetricResponse:
        if request.id not in self.found:
            message = f"there is no metric {request.id}"
            raise NotFound(message)
        return pb.GetFeedbackMetricResponse(metric=self.found[request.id])

    async def ListFeedbackMetrics(  # noqa: N802 - the contract's name
        self, _request: pb.ListFeedbackMetricsRequest, _context: object
    ) -> pb.ListFeedbackMetricsResponse:
        return pb.ListFeedbackMetricsResponse(metrics=self.found.values())


@pytest.fixture
async def feedback() -> AsyncIterator[FeedbackMetrics]:
    registration = (pb_grpc.add_FeedbackMetricServiceServicer_to_server, Metrics())  # type: ignore[abstract]
    server = DirectServer(settings(), [registration], access=access_of(), audit=RecordedCalls())
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", name="feedback", project=ADA.project) as channel:
        yield FeedbackMetrics(channel, timeout_s=5)
    await server.stop(1.0)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (
            "bought",
            "is bought, which the project does not declare; it declares reopened, outcome, solved, copied, ended",
        ),
        ("outcome", "is outcome, a category, of which no choice is better: name its good_choices"),
        ("solved", "is solved, which is about conversations: a rollout compares answers"),
        ("copied", "is copied, of which no value is better: set its optimise to max or min"),
    ],
)
async def test_a_metric_by_which_no_answers_are_compared_is_refused_with_what_is_right(
    feedback: FeedbackMetrics, metric: str, text: str
) -> None:
    assert await feedback.check(ADA, "reopened", field="f") == timedelta(days=7)
    assert await feedback.check(ADA, "ended", field="f") == timedelta(), "a category with good choices"

    with pytest.raises(InvalidInput) as refused:
        await feedback.check(ADA, metric, field="rollout_policy.abort.metrics[0].metric")

    (violation,) = refused.value.violations
    assert violation.field == "rollout_policy.abort.metrics[0].metric"
    assert violation.description.startswith(text)


async def test_without_an_address_of_feedback_the_setting_is_named_and_an_outage_is_one() -> None:
    with pytest.raises(ServiceNotNamed, match="INFERENCE_FEEDBACK_ADDRESS"):
        await FeedbackMetrics(None, timeout_s=1).check(ADA, "reopened", field="f")
    async with admin_channel("127.0.0.1:1", name="feedback", project=ADA.project, timeout_s=0.2) as channel:
        with pytest.raises(DependencyUnavailable):
            await FeedbackMetrics(channel, timeout_s=0.2).check(ADA, "reopened", field="f")
