"""The aggregates of all features."""

from dataclasses import dataclass

from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_inference.prompts.messages import TOPIC
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.recent import RecentAggregates


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """One of each kind."""

    prompts: RecentAggregates[Prompt]
    deployments: RecentAggregates[Deployment]
    inferences: MongoAggregates[Inference]


def wire_stores(settings: InferenceSettings, backend: Backend) -> Stores:
    """Return the aggregates."""
    prompts = backend.aggregates(
        "prompts", PROMPTS, missing=PromptNotFound, topic=TOPIC, quota=settings.quota("prompts")
    )
    deployments = backend.aggregates(
        "deployments",
        DEPLOYMENTS,
        missing=DeploymentNotFound,
        topic="tidemill.inference.deployment.v1",
        quota=settings.quota("deployments"),
    )
    max_age_s = settings.configuration_max_age_s
    return Stores(
        prompts=RecentAggregates(prompts, max_age_s=max_age_s),
        deployments=RecentAggregates(deployments, max_age_s=max_age_s),
        inferences=backend.aggregates(
            "inferences",
            INFERENCES,
            missing=InferenceNotFound,
            topic="tidemill.inference.inference.v1",
            lists=[("deployment",), ("end_user",)],
            usually_new=True,
        ),
    )
