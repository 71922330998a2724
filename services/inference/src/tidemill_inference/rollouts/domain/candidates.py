"""What a candidate would change of what is live, and which ones a deployment takes."""

from datetime import datetime

from tidemill_core.application import derived_id
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.experiments.domain.split import Split
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.policy import RolloutPolicy
from tidemill_inference.rollouts.domain.rollout import NamedRollout, Rollout
from tidemill_inference.rollouts.domain.step_counts import Reason


def candidate_of(live: Configuration, passed: PassedEvaluation) -> Configuration:
    """Return what is live with the candidate in its place; without a search to change, what is live."""
    if passed.prompt:
        return live.with_answer(prompt=passed.candidate)
    if not passed.collection:
        return live.with_answer(model=passed.candidate)
    return live.with_index(passed.index) if live.retrieval else live


def gate_of(policy: RolloutPolicy, passed: PassedEvaluation) -> str:
    """Return the gate that candidates of this kind have to pass."""
    if passed.prompt:
        return policy.prompt_gate
    return policy.index_gate if passed.collection else policy.gate


def named_by(
    passed: PassedEvaluation, candidate: Configuration, *, project: str, deployment: str, now: datetime
) -> NamedRollout:
    """Return the common fields of the events of the rollout that an evaluation may start."""
    return NamedRollout(
        occurred_at=now,
        rollout=derived_id(project, "rollout", deployment, passed.evaluation),
        candidate=candidate.model,
        configuration=candidate.digest,
        evaluation=passed.evaluation,
        collection=passed.collection,
        index=passed.index,
        prompt=passed.candidate if passed.prompt else "",
    )


def refusal(  # noqa: PLR0913 - all that speaks against one
    spec: DeploymentSpec,
    live: Configuration,
    last: Rollout | None,
    passed: PassedEvaluation,
    *,
    why_not: str,
    live_index: int,
    experiment: Split | None = None,
) -> tuple[Reason, str] | None:
    """Return why a candidate that passed its gate starts no rollout, None if it may.

    `last` is the deployment's last rollout; `why_not` says why the candidate cannot serve, "" if it can. `experiment`
    has the deployment's requests, where one runs.
    """
    if text := _not_followed(spec, passed):
        return Reason.NO_POLICY, text
    if candidate_of(live, passed).digest == live.digest:
        return Reason.SAME_CANDIDATE, f"{passed.candidate} answers already: there is nothing to roll out"
    if live.digest != passed.baseline:
        return Reason.BASELINE_CHANGED, "another configuration answers than the one it was compared with"
    if busy := _busy(last, experiment, candidate_of(live, passed)):
        return busy
    if why_not:
        return _not_ready(passed), why_not
    return _other_index(passed, live_index)


def _other_index(passed: PassedEvaluation, live_index: int) -> tuple[Reason, str] | None:
    """Return what is live of the candidate's collection by now, None where it is what it was compared with."""
    if live_index not in {0, passed.baseline_index or live_index} or (live_index and live_index == passed.index):
        return Reason.BASELINE_CHANGED, f"index version {live_index} is live by now, which it was not compared with"
    return None


def _busy(last: Rollout | None, experiment: Split | None, candidate: Configuration) -> tuple[Reason, str] | None:
    """Return what has the deployment's requests already, or is about to change what answers them."""
    if last and last.active and last.candidate.digest == candidate.digest:
        return Reason.SAME_CANDIDATE, f"{last.named_candidate} is on its way already: its rollout decides"
    if last and last.active:
        return Reason.ROLLOUT_ACTIVE, f"{last.named_candidate} is on its way: promote it or roll it back first"
    if last and last.unfinished:  # it ends without an event, and changes what the candidate was compared with
        return Reason.BASELINE_CHANGED, f"what is searched is being changed by the rollout of {last.named_candidate}"
    if experiment:
        return Reason.EXPERIMENT_ACTIVE, f"experiment {experiment.run} runs: stop it, and evaluate the candidate again"
    return None


def may_follow(spec: DeploymentSpec, rollout: Rollout) -> bool:
    """Return whether what is rolled out may still become live."""
    if rollout.prompt:
        return rollout.prompt.name == spec.followed_prompt
    if rollout.index is None:
        return rollout.candidate.model.partition("@")[0] == spec.follow
    return _searches_live(spec, rollout.index.collection)


def answering(rollout: Rollout, configuration: Configuration) -> str:
    """Return what a configuration has of the kind that is rolled out: its prompt, or its model."""
    return configuration.prompt if rollout.prompt else configuration.model


def without(rollout: Rollout, live: Configuration) -> Configuration:
    """Return what is live with what was there before the promotion of a model or prompt."""
    if rollout.prompt:
        return live.with_answer(prompt=rollout.prompt.before)
    return live.with_answer(model=rollout.baseline_model)


def _not_ready(passed: PassedEvaluation) -> Reason:
    if passed.prompt:
        return Reason.PROMPT_NOT_READY
    return Reason.INDEX_NOT_READY if passed.collection else Reason.MODEL_NOT_READY


def _not_followed(spec: DeploymentSpec, passed: PassedEvaluation) -> str:
    """Return why the deployment takes no such candidate, "" if it does."""
    if spec.rollout_policy is None:
        return "the deployment has no rollout policy"
    if passed.prompt:
        follows = spec.followed_prompt == passed.prompt
        return "" if follows else f"prompt {passed.prompt} does not go live by rollout in the deployment"
    if passed.collection:
        searches = _searches_live(spec, passed.collection)
        return "" if searches else f"the deployment does not search what is live of collection {passed.collection}"
    followed = passed.candidate.partition("@")[0] == spec.follow
    return "" if followed else f"the deployment follows {spec.follow or 'no model'}"


def _searches_live(spec: DeploymentSpec, collection: str) -> bool:
    retrieval = spec.retrieval
    return retrieval is not None and retrieval.collection == collection and not retrieval.index
