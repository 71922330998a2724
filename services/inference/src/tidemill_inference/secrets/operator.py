"""The operator's keys for remote models, which win over those that projects set."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from tidemill_core.origins import Origin
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_kit.runtime import operator_secrets

PREFIX = "INFERENCE_SECRET_"


class OperatorSecrets(operator_secrets.OperatorSecrets):
    """The operator gives a key its hosts, and it is sent nowhere else, whatever a project asks for."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None) -> None:
        super().__init__(PREFIX, environment, folder)

    async def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr | None:
        """Return a project's secret for a host; None where there is none of this name.

        Raises:
            SecretMissing: there is one, and not for this host.

        """
        found = await self.find(project, name)
        if found is None:
            return None
        if origin not in found.origins:
            raise SecretMissing(name, project=project, origin=str(origin), variable=self.variable(project, name))
        return found.value
