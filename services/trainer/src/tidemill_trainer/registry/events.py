"""The consumer of promotions: which versions were made live, and who approved it."""

from datetime import datetime

from pydantic import BaseModel, Field

from tidemill_core.application import Request
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_trainer.errors import ModelVersionNotFound
from tidemill_trainer.registry.domain.model_version import Promotion, VersionApproval
from tidemill_trainer.registry.ports import Versions

TOPIC = "tidemill.inference.deployment.v1"
PROMOTED = "tidemill.inference.rollout.promoted.v1"


class ApprovalFields(BaseModel):
    """The fields of a PromotionApproval."""

    approver: str
    approve_time: datetime


class RolloutIsPromoted(BaseModel):
    """Fields read from rollout.promoted."""

    deployment: str
    rollout: str = Field(min_length=1)
    candidate: str
    evaluation: str
    reason: str
    approvals: list[ApprovalFields] = []
    decided_by: str = ""


def promotions(versions: Versions) -> Subscription:
    """Return the subscription, which records each promotion with the version that it made live."""

    async def promoted(event: EventContext, body: RolloutIsPromoted) -> None:
        promotion = Promotion(
            deployment=body.deployment,
            rollout=body.rollout,
            evaluation=body.evaluation,
            reason=body.reason,
            promote_time=event.time,
            decided_by=body.decided_by,
            approvals=tuple(
                VersionApproval(approver=each.approver, approve_time=each.approve_time) for each in body.approvals
            ),
        )
        try:
            await versions.update(
                event.project, body.candidate, lambda version: version.promote(promotion), request=Request.internal()
            )
        except ModelVersionNotFound:
            return  # deleted meanwhile

    return Subscription(
        name="trainer.promotions",
        topics=(TOPIC,),
        delivery=Delivery.ONCE,
        routes={PROMOTED: Route(RolloutIsPromoted, promoted)},
    )
