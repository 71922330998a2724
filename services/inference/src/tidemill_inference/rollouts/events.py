"""The consumers: verdicts of evaluations, and what is said of answers."""

from pydantic import AwareDatetime, BaseModel, Field

from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.policy import RATING
from tidemill_inference.rollouts.outcomes import RecordReaction
from tidemill_inference.rollouts.ports import Reaction
from tidemill_inference.rollouts.start_rollout import StartRollout
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

PASSED = "VERDICT_PASSED"
ASKER = "user"
"""The rater of the person who asked."""


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
    prompt: str = ""
    reevaluates: str = ""
    """Of a re-evaluation what the live variant passed: what is live is no candidate."""


class FeedbackIsRecorded(BaseModel):
    """The fields that are read of feedback.recorded."""

    feedback: str = Field(min_length=1)
    seq: int
    inference: str = Field(min_length=1)
    deployment: str
    metric: str
    number: float | None = Field(None, ge=0, le=1)
    score: float | None = Field(None, ge=0, le=1)
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    end_user: str = ""
    rater: str = ASKER
    mature_time: AwareDatetime | None = None
    rollout: str = ""
    conversation: str = ""
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
    """Return the subscription. Re-evaluations, and evaluations by hand, without a gate or a deployment, start none."""

    async def completed(event: EventContext, body: EvaluationIsCompleted) -> None:
        if body.verdict != PASSED or not body.gate or not body.deployment or body.reevaluates:
            return
        passed = PassedEvaluation(
            evaluation=body.evaluation,
            gate=body.gate,
            candidate=body.candidate,
            baseline=body.baseline_configuration,
            requester=body.requester,
            collection=body.collection,
            baseline_index=body.baseline_index,
            prompt=body.prompt,
        )
        await start(event.caller, body.deployment, passed, request=event.request)

    return Subscription(
        name="inference.evaluations",
        topics=("tidemill.evaluator.evaluation.v1",),
        delivery=Delivery.ONCE,
        routes={"tidemill.evaluator.evaluation.completed.v1": Route(EvaluationIsCompleted, completed)},
    )


def reactions(record: RecordReaction) -> Subscription:
    """Return the subscription. Only what is said of answers that are compared counts here, by whom feedback counts."""

    async def recorded(event: EventContext, body: FeedbackIsRecorded) -> None:
        if body.conversation:
            return
        score = body.number if body.metric == RATING else body.score
        reaction = Reaction(
            feedback=body.feedback,
            seq=body.seq,
            inference=body.inference,
            rollout=body.rollout,
            metric=body.metric,
            score=score if body.counts else None,
            weight=body.weight,
            end_user=body.end_user if body.rater == ASKER else "",
            mature_time=body.mature_time,
        )
        await record(event.caller, body.deployment, reaction, sent_at=event.time)

    async def withdrawn(event: EventContext, body: FeedbackIsWithdrawn) -> None:
        reaction = Reaction(
            feedback=body.feedback,
            seq=body.seq,
            inference=body.inference,
            rollout=body.rollout,
            metric=body.metric,
            score=None,
        )
        await record(event.caller, body.deployment, reaction, sent_at=event.time)

    return Subscription(
        name="inference.reactions",
        topics=("tidemill.feedback.feedback.v1",),
        delivery=Delivery.ONCE,
        routes={
            "tidemill.feedback.feedback.recorded.v1": Route(FeedbackIsRecorded, recorded),
            "tidemill.feedback.feedback.withdrawn.v1": Route(FeedbackIsWithdrawn, withdrawn),
        },
    )
