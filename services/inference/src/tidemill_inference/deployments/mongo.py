"""Deployments as documents, and which models they serve."""

from collections.abc import Callable, Iterable

from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.deployments.messages import payload_of
from tidemill_inference.engines.ports import LiveModel
from tidemill_inference.rollouts.domain.rollout import Rollout, RolloutState
from tidemill_inference.rollouts.domain.step_counts import StepCounts
from tidemill_inference.rollouts.domain.values import SideValues
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_kit.mapping import DocumentCodec, Form, as_json, as_pairs
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, translated

_WITH_ROLLOUTS = 2
"""The schema from which on deployments follow models."""


def _read(state: Document, _identity: Identity, schema: int) -> Document:
    """Return a state with steps; one from before there were rollouts follows nothing."""
    if schema < _WITH_ROLLOUTS:
        spec = {**state["spec"], "follow": "", "rollout_policy": None}
        state = {**state, "spec": spec, "rollout": None, "evaluations": [], "rollouts_paused": False}
    return _each_configuration(state, lambda stored: stored if "steps" in stored else {"steps": [stored]})


def _written(_deployment: Deployment, state: Document) -> Document:
    """Return a state in which a configuration of one step is that step, as it was before there were steps."""
    return _each_configuration(state, lambda made: made["steps"][0] if len(made["steps"]) == 1 else made)


def _each_configuration(state: Document, change: Callable[[Document], Document]) -> Document:
    rollout = state["rollout"] and {**state["rollout"], "candidate": change(state["rollout"]["candidate"])}
    return {**state, "live": change(state["live"]), "rollout": rollout}


DEPLOYMENTS = DocumentCodec(
    Deployment,
    {
        Retrieval: Form(fields={"metadata_filter": as_json}),  # its names are the user's, and MongoDB may not take them
        RoutingPolicy: Form(fields={"equal_models": as_pairs}),
        Deployment: Form(fields={"equals": as_pairs}),
        Sampling: Form(
            fields={"logit_bias": as_pairs},  # its keys are numbers
            sparse={"presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"},
        ),
        Rollout: Form(derived={"active": lambda rollout: rollout.unfinished}),  # to be searched for
        StepCounts: Form(omits={"candidate_samples", "baseline_samples"}),
        SideValues: Form(omits={"samples"}),
    },
    enums_by_name=(RecordMode, RolloutState),
    schema=_WITH_ROLLOUTS,
    event=payload_of,
    on_read=_read,
    on_write=_written,
)


class MongoLiveModels:
    """Implements `ports.LiveModels`."""

    def __init__(self, deployments: Collection) -> None:
        self._deployments = deployments

    async def among(self, models: Iterable[LiveModel]) -> frozenset[LiveModel]:
        """See `LiveModels.among`."""
        asked = frozenset(models)
        named = {"$in": sorted({model for _, model in asked})}
        of = {"project": {"$in": sorted({project for project, _ in asked})}, "deleted": False}
        equal = {"state.equals": {"$elemMatch": {"$elemMatch": named}}}
        answering = {"$or": [{"state.live.model": named}, {"state.live.fallback": named}, equal]}
        requested = {"project": 1, "state.live.model": 1, "state.live.fallback": 1, "state.equals": 1}
        with translated():
            found = await self._deployments.find({**of, **answering}, requested).to_list(None)
        return asked & {(document["project"], model) for document in found for model in _answering(document["state"])}


def _answering(state: Document) -> list[str]:
    """Return the models that a deployment answers with; one stored before there were equal models has none."""
    return [state["live"]["model"], *state["live"]["fallback"], *(model for model, _ in state.get("equals", ()))]
