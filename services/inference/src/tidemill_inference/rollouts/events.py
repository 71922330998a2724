"""The consumers: verdicts of evaluations, and ratings of answers."""

from pydantic import BaseModel, Field

from tidemill_inference.rollouts.domain.rollout import PassedEvaluation
from tidemill_inference.rollouts.outcomes import RecordRating
from tidemill_inference.rollouts.ports import GivenRating
from tidemill_inference.rollouts.start_rollout import StartRollout
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

PASSED = "VERDICT_PASSED"
RATING = "rating"


class EvaluationIsCompleted(BaseModel):
    """The fields that are read of evaluation.completed."""

    evaluation: str = Field(min_length=1)
    gate: str
    deployment: str
    candidate: str
    baseline_configuration: str
    verdict: str
    requester: str = ""
    collection: str = ""
    baseline_index: int = 0


class FeedbackIsRecorded(BaseModel):
    """The fields that are read of feedback.recorded."""

    feedback: str = Field(min_length=1)
    seq: int
    inference: str = Field(min_length=1)
    deployment: str
    metric: str
    number: float | None = Field(None, ge=0, le=1)
    rollout: str = ""
    counts: bool = True


class FeedbackIsWithdrawn(BaseModel):
    """The fields that are read of feedback.withdrawn."""

    feedback: str = Field(min_length=1)
    seq: int
    inference: str = Field(min_length=1)
    deployment: str
    metric: str
    rollout: str = ""


def evaluations(start: StartRollout) -> Subscription:
    """Return the subscription. Evaluations by hand, without a gate or a deployment, start nothing."""

    async def completed(event: EventContext, body: EvaluationIsCompleted) -> None:
        if body.verdict != PASSED or not body.gate or not body.deployment:
            return
        passed = PassedEvaluation(
            evaluation=body.evaluation,
            gate=body.gate,
            candidate=body.candidate,
            baseline=body.baseline_configuration,
            requester=body.requester,
            collection=body.collection,
            baseline_index=body.baseline_index,
        )
        await start(event.caller, body.deployment, passed, request=event.request)

    return Subscription(
        name="inference.evaluations",
        topics=("tidemill.evaluator.evaluation.v1",),
        delivery=Delivery.ONCE,
        routes={"tidemill.evaluator.evaluation.completed.v1": Route(EvaluationIsCompleted, completed)},
    )


def reactions(rate: RecordRating) -> Subscription:
    """Return the subscription. Only ratings of answers within a rollout count here, by whom feedback counts."""

    async def record_rating(
        event: EventContext, body: FeedbackIsRecorded | FeedbackIsWithdrawn, number: float | None
    ) -> None:
        if body.metric == RATING and body.rollout:
            rating = GivenRating(
                feedback=body.feedback,
                seq=body.seq,
                inference=body.inference,
                rollout=body.rollout,
                number=number,
            )
            await rate(event.caller, body.deployment, rating)

    async def recorded(event: EventContext, body: FeedbackIsRecorded) -> None:
        if body.counts:
            await record_rating(event, body, body.number)

    async def withdrawn(event: EventContext, body: FeedbackIsWithdrawn) -> None:
        await record_rating(event, body, None)

    return Subscription(
        name="inference.reactions",
        topics=("tidemill.feedback.feedback.v1",),
        delivery=Delivery.ONCE,
        routes={
            "tidemill.feedback.feedback.recorded.v1": Route(FeedbackIsRecorded, recorded),
            "tidemill.feedback.feedback.withdrawn.v1": Route(FeedbackIsWithdrawn, withdrawn),
        },
    )
