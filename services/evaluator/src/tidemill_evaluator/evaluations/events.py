"""Consumes candidates, rollouts that were refused, the end of those in their way, and changes of providers."""

from pydantic import BaseModel

from tidemill_evaluator.errors import BASELINE_CHANGED, ROLLOUT_ACTIVE
from tidemill_evaluator.evaluations.after_provider_change import ReevaluateAfterProviderChange
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "evaluator.candidates"
TOPICS = (
    "tidemill.trainer.model.v1",
    "tidemill.inference.deployment.v1",
    "tidemill.inference.prompt.v1",
    "tidemill.rag.index.v1",
)
REGISTERED = "tidemill.trainer.model.version_registered.v1"
READY = "tidemill.rag.index.became_ready.v1"
PROMPT_VERSION = "tidemill.inference.prompt.version_created.v1"
REFUSED = "tidemill.inference.rollout.refused.v1"
PROMOTED = "tidemill.inference.rollout.promoted.v1"
PROVIDER_CHANGED = "tidemill.inference.remote_model.changed.v1"
ROLLED_BACK = "tidemill.inference.rollout.rolled_back.v1"


class VersionRegistered(BaseModel):
    """Fields read from model.version_registered; old events lack the training data."""

    version: str
    dataset_version: str = ""


class IndexBecameReady(BaseModel):
    """Fields read from index.became_ready."""

    collection: str
    index: int


class PromptVersionCreated(BaseModel):
    """Fields read from prompt.version_created."""

    prompt: str
    version: int
    digest: str = ""


class RolloutRefused(BaseModel):
    """Fields read from rollout.refused."""

    evaluation: str
    reason: str


class RolloutEnded(BaseModel):
    """Fields read from rollout.promoted and rollout.rolled_back."""

    deployment: str
    candidate: str = ""


class RemoteModelChanged(BaseModel):
    """Fields read from remote_model.changed."""

    model: str


def candidates(
    triggers: EvaluationTriggers, provider_changed: ReevaluateAfterProviderChange, *, topics: tuple[str, ...] = TOPICS
) -> Subscription:
    """Return the subscription. Effects are idempotent: their ids derive from the event's facts."""

    async def registered(event: EventContext, body: VersionRegistered) -> None:
        await triggers.candidate_registered(event.caller, body.version, dataset_version=body.dataset_version)

    async def ready(event: EventContext, body: IndexBecameReady) -> None:
        await triggers.index_became_ready(event.caller, body.collection, body.index)

    async def prompt_version(event: EventContext, body: PromptVersionCreated) -> None:
        await triggers.prompt_version_created(event.caller, body.prompt, body.version, digest=body.digest)

    async def refused(event: EventContext, body: RolloutRefused) -> None:
        if body.reason == BASELINE_CHANGED:
            await triggers.baseline_changed(event.caller, body.evaluation)
        if body.reason == ROLLOUT_ACTIVE:
            await triggers.rollout_was_active(event.caller, body.evaluation)

    async def ended(event: EventContext, body: RolloutEnded) -> None:
        await triggers.rollout_ended(event.caller, body.deployment)

    async def promoted(event: EventContext, body: RolloutEnded) -> None:
        await ended(event, body)
        await provider_changed.promoted(event.caller, body.deployment, body.candidate, request=event.request)

    async def changed(event: EventContext, body: RemoteModelChanged) -> None:
        await provider_changed(event.caller, body.model, request=event.request)

    return Subscription(
        name=NAME,
        topics=topics,
        delivery=Delivery.ONCE,
        routes={
            REGISTERED: Route(VersionRegistered, registered),
            READY: Route(IndexBecameReady, ready),
            PROMPT_VERSION: Route(PromptVersionCreated, prompt_version),
            REFUSED: Route(RolloutRefused, refused),
            PROMOTED: Route(RolloutEnded, promoted),
            ROLLED_BACK: Route(RolloutEnded, ended),
            PROVIDER_CHANGED: Route(RemoteModelChanged, changed),
        },
    )
