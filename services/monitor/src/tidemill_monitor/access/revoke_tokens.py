"""Use cases: revoke tokens that no project has in its lists: of services, of logins, of the installation's admin."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tidemill_core import resources
from tidemill_core.application import Caller, Clock
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_monitor.access.domain.installation import Installation
from tidemill_monitor.access.domain.revocations import MARGIN
from tidemill_monitor.access.ports import Installations

_TOKEN_ID = re.compile(r"[!-~]{1,200}")
_SUBJECT = re.compile(r"(?:user|group):[!-~]{1,200}|service:[a-z][a-z0-9-]{0,39}")
_QUOTED = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokens:
    """An admin of the installation revokes in all projects at once."""

    installations: Installations
    clock: Clock

    async def token(self, _caller: Caller, token_id: str, write: Write) -> datetime:
        """Revoke one token; return when.

        Raises:
            InvalidInput: it is no id of a token.

        """
        if not _TOKEN_ID.fullmatch(token_id):
            text = f"is {token_id[:_QUOTED]!r}; send the token's id, its claim `jti`, not the token"
            raise InvalidInput.at(field="token_id", text=text)
        now = self.clock.now()
        await self._changed(lambda found: found.revoke_token(token_id, now=now), write)
        return now

    async def subject(self, _caller: Caller, subject: str, write: Write) -> datetime:
        """Revoke all tokens of a subject; return up to which time of issue.

        Raises:
            InvalidInput: it is no such subject.

        """
        if not _SUBJECT.fullmatch(subject):
            text = (
                f"is {subject[:_QUOTED]!r}; use user:<name>, group:<name> or service:<name>. Keys of a service account "
                "are revoked in its project"
            )
            raise InvalidInput.at(field="subject", text=text)
        now = self.clock.now()
        await self._changed(lambda found: found.revoke_subject(subject, now=now), write)
        return now + MARGIN

    async def _changed(self, change: Callable[[Installation], None], write: Write) -> None:
        await resources.create(self.installations, Installation(), write, begin=change)
