"""Deployments: create, change and delete one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_core.resources import Write, check_etag, check_labels, check_slug, create, delete, etag_of, update
from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, SamplingLimits
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines.ports import Warm, warms_nothing
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.examples.ports import ChoosingExamples
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.rollouts.domain.policy import MetricRule
from tidemill_inference.rollouts.ports import DeclaredMetrics, Outcomes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentCrud:
    """Emits DeploymentWasConfigured and DeploymentWasDeleted. `warm` gets the models that serve now."""

    deployments: Deployments
    resolve: ResolveConfiguration
    outcomes: Outcomes
    metrics: DeclaredMetrics
    clock: Clock
    warm: Warm = warms_nothing
    limits: SamplingLimits = DEFAULT_SAMPLING
    examples: ChoosingExamples | None = None
    """Is asked to load those that a deployment shows."""

    async def create(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        deployment_id: str,
        spec: DeploymentSpec,
        *,
        labels: Mapping[str, str],
        rollouts_paused: bool = False,
        write: Write,
    ) -> Deployment:
        """Return the new deployment.

        Raises:
            InvalidInput: a field is out of bounds.
            ReferenceNotFound: something that it names is not there.
            ApprovalMissing: people still have to agree to a version that it would use.
            AlreadyExists: the id is taken.

        """
        check_slug("deployment.id", deployment_id)
        check_labels("deployment.labels", labels)
        spec.check(self.limits)
        await self._check_metrics(caller, spec)
        live = await self.resolve(caller, spec)
        deployment = Deployment(
            id=deployment_id,
            project=caller.project,
            labels=dict(labels),
            spec=spec,
            live=live,
            rollouts_paused=rollouts_paused,
            equals=await self.resolve.equals(caller, spec, live),
        )
        deployment.announce(now=self.clock.now())
        return await self._warmed(await create(self.deployments, deployment, write), write)

    async def update(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        deployment_id: str,
        *,
        change: Callable[[DeploymentSpec], DeploymentSpec] | None = None,
        labels: Mapping[str, str] | None = None,
        rollouts_paused: bool | None = None,
        write: Write,
    ) -> Deployment:
        """Return the changed deployment; None leaves something as it is.

        A change of the spec resolves all references again; any other leaves what answers as it is.

        Raises:
            DeploymentNotFound: the project has no such deployment.
            InvalidInput: a field is out of bounds.
            ReferenceNotFound: something that it names is not there.
            ApprovalMissing: people still have to agree to a version that it would use.
            Conflict: it has changed since the etag.

        """
        if labels is not None:
            check_labels("deployment.labels", labels)
        current = await self.deployments.get(caller.project, deployment_id)
        spec, live, equals = current.spec, current.live, current.equals
        if change:
            spec = change(spec)
            spec.check(self.limits)
            await self._check_metrics(caller, spec, known=current.spec)
            live = await self.resolve(
                caller,
                spec,
                kept_model=_kept_model(current, spec),
                kept_prompt=_kept_prompt(current, spec),
                live=current.live,
            )
            equals = await self.resolve.equals(caller, spec, live, known=equals)
        now = self.clock.now()

        def changed(stored: Deployment) -> None:
            if change:
                # The references were resolved for the spec that was read: another one meanwhile is decided on again.
                check_etag(etag_of(current.version), stored.version)
                stored.configure(spec, live, now=now, equals=equals)
            if labels is not None:
                stored.labels = dict(labels)
            if rollouts_paused is not None:
                stored.pause_rollouts(paused=rollouts_paused, now=now)

        changed_one = await update(self.deployments, caller.project, deployment_id, changed, write)
        return await self._warmed(changed_one, write, showed=current.live.examples)

    async def delete(self, caller: Caller, deployment_id: str, write: Write) -> Deployment:
        """Return the deployment as it was; its inferences stay, and what its rollout counted goes.

        Raises:
            DeploymentNotFound: the project has no such deployment.
            Conflict: it has changed since the etag.

        """
        now = self.clock.now()
        deleted = await delete(
            self.deployments, caller.project, deployment_id, write, change=lambda stored: stored.delete(now=now)
        )
        if deleted.rollout and deleted.deleted and not write.validate_only:  # repeated, it may be one made anew
            await self.outcomes.forget(caller.project, deleted.rollout.id)
        return deleted

    async def _check_metrics(
        self, caller: Caller, spec: DeploymentSpec, *, known: DeploymentSpec | None = None
    ) -> None:
        """Check what rollouts compare answers by; what a policy has already goes on, whatever became of the metric."""
        had, policy = {rule.metric for rule in _rules(known)}, spec.rollout_policy
        for number, rule in enumerate(_rules(spec)):
            if rule.metric in had or policy is None:
                continue
            field = f"rollout_policy.abort.metrics[{number}].metric"
            matures_after = await self.metrics.check(caller, rule.metric, field=field)
            if problem := policy.maturity_problem(rule, matures_after=matures_after):
                raise InvalidInput.at(field=field, text=f"is {rule.metric}, {problem}")

    async def _warmed(self, deployment: Deployment, write: Write, *, showed: Examples | None = None) -> Deployment:
        """Have loaded what answers need; `showed` are the examples that it showed before. What fails here is logged.

        The deployment is stored by then, and the first question has loaded what is not.
        """
        if not write.validate_only:
            shows = deployment.live.examples
            if self.examples and shows and shows != showed:
                try:
                    await self.examples.request(deployment.project, shows)
                except TidemillError as error:
                    _log.warning("examples_not_requested: %s: %s", deployment.id, error.reason)
            self.warm(deployment.project, deployment.live.model, deployment.spec.engine)
            if (retrieval := deployment.live.retrieval) and retrieval.rewrite:
                self.warm(deployment.project, retrieval.rewrite, "")
        return deployment


def _kept_model(current: Deployment, spec: DeploymentSpec) -> str:
    """Return the model that answers on: where rollouts move it, an update never does; "" takes the declared one."""
    return current.live.model if current.spec.follow and spec.follow else ""


def _kept_prompt(current: Deployment, spec: DeploymentSpec) -> str:
    """Return the prompt version that answers on, as a model does: where its prompt goes live by rollout."""
    answers = Reference.of_prompt(current.live.prompt).name
    return current.live.prompt if spec.followed_prompt == answers else ""


def _rules(spec: DeploymentSpec | None) -> Sequence[MetricRule]:
    policy = spec.rollout_policy if spec else None
    return policy.abort.metrics if policy else ()
