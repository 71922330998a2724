"""Create, change and delete deployments."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import AlreadyExists, NotFound
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentSpec
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines.ports import Warm, warms_nothing
from tidemill_inference.etags import check_etag
from tidemill_inference.prompts.domain.references import check_slug
from tidemill_inference.rollouts.ports import Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentToCreate:
    """A new deployment."""

    id: str
    spec: DeploymentSpec
    labels: dict[str, str] = field(default_factory=dict)
    rollouts_paused: bool = False
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentChange:
    """`change` turns the spec as it is into the spec as it shall be; what is None stays as it is."""

    id: str
    change: Callable[[DeploymentSpec], DeploymentSpec] | None = None
    labels: dict[str, str] | None = None
    rollouts_paused: bool | None = None
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDeployment:
    """Emits DeploymentWasConfigured. Idempotent by request id. `warm` gets the model that serves now."""

    deployments: Deployments
    resolve: ResolveConfiguration
    clock: Clock
    warm: Warm = warms_nothing

    async def __call__(self, caller: Caller, command: DeploymentToCreate) -> Deployment:
        """Return the new deployment.

        Raises:
            InvalidInput: a field is out of bounds.
            ReferenceNotFound: something that it names is not there.
            AlreadyExists: the id is taken.

        """
        check_slug("deployment.id", command.id)
        command.spec.check()
        live = await self.resolve(caller.project, command.spec)
        deployment = Deployment(
            id=command.id,
            project=caller.project,
            labels=command.labels,
            spec=command.spec,
            live=live,
            rollouts_paused=command.rollouts_paused,
        )
        if not command.validate_only:
            deployment.announce(now=self.clock.now())
            saved = await self.deployments.add(deployment, request=command.request)
            self.warm(caller.project, saved.live.model)
            return saved
        try:
            await self.deployments.get(caller.project, command.id)
        except NotFound:
            return deployment
        message = f"{command.id} exists already: choose another id, or update it"
        raise AlreadyExists(message, id=command.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDeployment:
    """Emits DeploymentWasConfigured where another configuration comes of it.

    A change of the spec resolves all references again; any other leaves what answers as it is.
    """

    deployments: Deployments
    resolve: ResolveConfiguration
    clock: Clock
    warm: Warm = warms_nothing

    async def __call__(self, caller: Caller, command: DeploymentChange) -> Deployment:
        """Return the changed deployment.

        Raises:
            DeploymentNotFound: the project has no such deployment.
            InvalidInput: a field is out of bounds.
            ReferenceNotFound: something that it names is not there.
            Conflict: it has changed since `etag`.

        """
        current = await self.deployments.get(caller.project, command.id)
        spec, live = current.spec, current.live
        if command.change:
            spec = command.change(spec)
            spec.check()
            live = await self.resolve(caller.project, spec, kept_model=_kept_model(current, spec))
        now = self.clock.now()

        def change(stored: Deployment) -> None:
            check_etag(command.etag, stored.version)
            if command.change:
                # The references were resolved for the spec that was read: another one meanwhile is decided on again.
                check_etag(str(current.version), stored.version)
                stored.configure(spec, live, now=now)
            if command.labels is not None:
                stored.labels = command.labels
            if command.rollouts_paused is not None:
                stored.pause_rollouts(paused=command.rollouts_paused, now=now)

        if not command.validate_only:
            saved = await self.deployments.update(caller.project, command.id, change, request=command.request)
            self.warm(caller.project, saved.live.model)
            return saved
        change(current)
        return replace(current, pending=[])


def _kept_model(current: Deployment, spec: DeploymentSpec) -> str:
    """Return the model that answers on: where rollouts move it, an update never does; "" takes the declared one."""
    return current.live.model if current.spec.follow and spec.follow else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDeployment:
    """Emits DeploymentWasDeleted; its inferences stay, and what its rollout counted goes."""

    deployments: Deployments
    outcomes: Outcomes
    clock: Clock

    async def __call__(
        self,
        caller: Caller,
        deployment_id: str,
        *,
        request: Request,
        etag: str = "",
        validate_only: bool = False,
    ) -> Deployment:
        """Return the deployment as it was.

        Raises:
            DeploymentNotFound: the project has no such deployment.
            Conflict: it has changed since `etag`.

        """
        now = self.clock.now()

        def change(stored: Deployment) -> None:
            check_etag(etag, stored.version)
            stored.delete(now=now)

        if not validate_only:
            deleted = await self.deployments.update(caller.project, deployment_id, change, request=request)
            if deleted.rollout:
                await self.outcomes.forget(caller.project, deleted.rollout.id)
            return deleted
        current = await self.deployments.get(caller.project, deployment_id)
        check_etag(etag, current.version)
        return current
