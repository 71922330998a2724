"""The secret of a project: made when it is needed first, opened when it is needed."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_core.envelope import Seals
from tidemill_core.errors import NotFound
from tidemill_ingest.errors import PseudonymsNotKept
from tidemill_ingest.projects import Projects, require_project
from tidemill_ingest.pseudonyms.domain import KEY_BYTES, KEY_ID, ProjectKey
from tidemill_ingest.pseudonyms.ports import ProjectKeys, ProjectSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepProjectSecrets:
    """Implements `ports.ProjectSecrets`. `seals` is None where the operator has configured no key."""

    keys: ProjectKeys
    seals: Seals | None
    projects: Projects
    derive: Callable[[bytes], ProjectSecret]
    """Derives the secret from a key."""

    async def get(self, caller: Caller, *, create: bool) -> ProjectSecret:
        """See `ports.ProjectSecrets.get`."""
        seals = self._seals()
        try:
            key = await self.keys.get(caller.project, KEY_ID)
        except NotFound:
            if not create:
                return self.derive(secrets.token_bytes(KEY_BYTES))
            key = await self._made(caller.project, seals)
        if key.envelope is None:
            raise PseudonymsNotKept
        return self.derive(seals.open(key.envelope, *key.belongs))

    async def _made(self, project: str, seals: Seals) -> ProjectKey:
        require_project(self.projects, project)
        fresh = ProjectKey(id=KEY_ID, project=project)
        made = seals.seal(secrets.token_bytes(KEY_BYTES), *fresh.belongs)
        return await self.keys.upsert(fresh, lambda key: key.set(made), request=Request.internal())

    def _seals(self) -> Seals:
        if self.seals is None:
            raise PseudonymsNotKept
        return self.seals
