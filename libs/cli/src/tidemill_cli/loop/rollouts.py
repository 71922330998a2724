"""Diff and apply of rollout policies: fields of deployments, applied last because they refer to gates."""

from collections.abc import AsyncIterator, Callable

from google.protobuf.json_format import MessageToDict

from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.rollout_pb2 import RolloutPolicy
from tidemill_cli.loop.changes import Action, Change, Pending
from tidemill_cli.loop.desired import OWNER_LABEL
from tidemill_cli.loop.rolling import Rollout
from tidemill_cli.loop.turning import rollout_policy
from tidemill_client.connection import Connection
from tidemill_client.declared import Deployments

FIELDS = ("rollout_policy",)


class DeclaredRollout:
    """A rollout of the file. `tidemill loop pause` owns `rollouts_paused`, not the file."""

    kind = "rollout"

    def __init__(self, connection: Connection, name: str, declared: Rollout) -> None:
        self.name = name
        self.deployment = declared.deployment
        self._connection = connection
        self._declared = declared

    async def diff(self, pending: Pending) -> Change:
        """Return what apply would change."""
        gates = [("gate", name) for name in self._declared.gates]
        metrics = [("metric", name) for name in self._declared.abort.metrics]
        parts = (("deployment", self._declared.deployment), *gates, *metrics)
        missing = [f"{kind} {name}" for kind, name in parts if pending.get((kind, name)) is Action.CREATE]
        current = await self._current()
        if current is None or not current.HasField("rollout_policy"):
            if current is not None and not missing:
                await self._update(validate_only=True)
            return self._change(Action.CREATE)
        if missing:
            details = _differences(current.rollout_policy, rollout_policy(self._declared))
            return self._change(Action.UPDATE, details, note=f"follows {', '.join(missing)}")
        return self._compared(current, await self._update(validate_only=True))

    async def apply(self, _progress: Callable[[str, float], None]) -> Change:
        """Update the deployment's policy if it differs."""
        current = await self._current()
        preview = await self._update(validate_only=True)
        if current is None or not current.HasField("rollout_policy"):
            change = self._change(Action.CREATE)
        else:
            change = self._compared(current, preview)
        if change.changes:
            await self._update(validate_only=False)
        return change

    async def _current(self) -> Deployment | None:
        return await Deployments(self._connection).find(self.deployment)

    async def _update(self, *, validate_only: bool) -> Deployment:
        requested = Deployment(id=self.deployment, rollout_policy=rollout_policy(self._declared))
        return await Deployments(self._connection).update(requested, *FIELDS, validate_only=validate_only)

    def _compared(self, current: Deployment, preview: Deployment) -> Change:
        details = _differences(current.rollout_policy, preview.rollout_policy)
        return self._change(Action.UPDATE if details else Action.NONE, details)

    def _change(
        self, action: Action, details: dict[str, tuple[object, object]] | None = None, note: str = ""
    ) -> Change:
        return Change(kind=self.kind, name=self.name, action=action, details=details or {}, note=note)


async def orphaned_rollouts(connection: Connection, loop: str, declared: set[str]) -> AsyncIterator[str]:
    """Yield the loop's deployments with a policy that the file does not declare."""
    async for deployment in Deployments(connection).all():
        owned = deployment.labels.get(OWNER_LABEL) == loop
        if owned and deployment.HasField("rollout_policy") and deployment.id not in declared:
            yield deployment.id


async def remove_policy(connection: Connection, deployment: str) -> None:
    """Remove a deployment's rollout policy; the live configuration is kept."""
    await Deployments(connection).update(Deployment(id=deployment), *FIELDS)


def _differences(before: RolloutPolicy, after: RolloutPolicy) -> dict[str, tuple[object, object]]:
    old = MessageToDict(before, preserving_proto_field_name=True)
    new = MessageToDict(after, preserving_proto_field_name=True)
    return {key: (old.get(key), new.get(key)) for key in sorted(old | new) if old.get(key) != new.get(key)}
