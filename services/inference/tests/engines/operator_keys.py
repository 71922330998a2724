"""The operator's keys as engines ask for them."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from tidemill_core.origins import Origin
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_inference.secrets.operator import OperatorSecrets


class OperatorKeys:
    """Implements `remote.Keys` without secrets that projects set."""

    def __init__(self, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self._operator = OperatorSecrets(environment or {}, folder)

    async def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr:
        found = await self._operator.key_for(project, name, origin=origin)
        if found is None:
            raise SecretMissing(
                name, project=project, origin=str(origin), variable=self._operator.variable(project, name)
            )
        return found
