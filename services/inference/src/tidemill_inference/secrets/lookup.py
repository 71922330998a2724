"""Finds the key that a remote model is called with: the operator's, else the project's own."""

from dataclasses import dataclass

from pydantic import SecretStr

from tidemill_core.envelope import Seals
from tidemill_core.origins import Origin
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_inference.secrets.domain.secret import HostRules
from tidemill_inference.secrets.operator import OperatorSecrets
from tidemill_inference.secrets.ports import Secrets
from tidemill_kit.store.envelope import EncryptionKeyMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKeys:
    """Looks a secret up for each use, so that one that was changed or deleted counts at the next request."""

    operators: OperatorSecrets
    secrets: Secrets
    seals: Seals | None
    rules: HostRules

    async def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr:
        """Return a project's secret for a host.

        Raises:
            SecretMissing: the project has none of this name, or none for this host; it does not say which.
            PreconditionFailed: it cannot be decrypted.

        """
        operators_own = await self.operators.key_for(project, name, origin=origin)
        if operators_own is not None:
            return operators_own
        found = (await self.secrets.get_many(project, [name])).get(name) if name else None
        if found is None or found.envelope is None or not found.may_go_to(origin) or not self.rules.allow(origin):
            raise SecretMissing(
                name, project=project, origin=str(origin), variable=self.operators.variable(project, name)
            )
        if self.seals is None:
            raise EncryptionKeyMissing(found.envelope.key_id)
        return SecretStr(self.seals.open(found.envelope, *found.belongs).decode())
