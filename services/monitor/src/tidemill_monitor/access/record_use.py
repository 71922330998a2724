"""Use case: record when API keys were last used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller, Clock
from tidemill_core.errors import InvalidInput
from tidemill_monitor.access.domain.project import ProjectState
from tidemill_monitor.access.ports import KeyUses, Projects

MAX_USES = 1000
_CREDENTIAL = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUse:
    """Services report; that it is lost now and then does no harm, so that no call waits for it."""

    uses: KeyUses
    projects: Projects
    clock: Clock

    async def __call__(self, caller: Caller, uses: Mapping[str, datetime]) -> None:
        """Record uses of keys of the caller's project; a time ahead of this clock counts as now.

        Of a deleted project nothing is recorded: a process may report late, and what was recorded is erased.

        Raises:
            InvalidInput: they are too many, or name what is no credential.

        """
        if len(uses) > MAX_USES:
            raise InvalidInput.at(field="uses", text=f"has {len(uses)} keys: send {MAX_USES} at most")
        if not all(map(_CREDENTIAL.fullmatch, uses)):
            raise InvalidInput.at(field="uses.credential", text="is no `jti` of a token")
        if not await self._is_active(caller.project):
            return
        now = self.clock.now()
        await self.uses.record(caller.project, {name: min(used, now) for name, used in uses.items()})

    async def _is_active(self, project: str) -> bool:
        found = (await self.projects.get_many(project, [project])).get(project)
        return found is None or found.state is ProjectState.ACTIVE
