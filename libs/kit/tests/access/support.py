"""Authenticators whose issuers, clocks and revocations are the test's."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.access.authenticator import Authenticated, Authenticator
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.documents import key_set_of
from tidemill_kit.access.keys import IssuerKeys, KeyTimes, SigningKeys
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import TestIssuer


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.moved = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.moved

    def now(self) -> float:
        return time.time() + self.moved


class Served:
    """An issuer's key set, which can be down, and counts how often it is read."""

    def __init__(self, issuer: TestIssuer) -> None:
        self._read = key_set_of(issuer.issuer, f"file:{issuer.file}")
        self.down = False
        self.reads = 0

    async def __call__(self) -> dict[str, Any]:
        self.reads += 1
        if self.down:
            message = "the issuer is down"
            raise DependencyUnavailable(message, dependency="issuer")
        return await self._read()


class Checked:
    """An authenticator and what it stands on."""

    def __init__(self, *issuers: TestIssuer, hold_s: float = 3600.0, **limits: Any) -> None:  # noqa: ANN401 - of any setting
        self.clock = Clock()
        self.served = [Served(each) for each in issuers]
        times = KeyTimes(max_age_s=300, hold_s=hold_s)
        self.keys = [
            IssuerKeys(each.issuer, served, times, monotonic=self.clock.monotonic)
            for each, served in zip(issuers, self.served, strict=True)
        ]
        self.revocations = Revocations(now=self.clock.now, monotonic=self.clock.monotonic)
        self.revocations.complete = True
        self.authenticator = Authenticator(SigningKeys(self.keys), self.revocations, now=self.clock.now, **limits)

    async def __call__(self, token: str, project: str = "", on_behalf_of: str = "") -> Authenticated:
        return await self.authenticator.authenticate(
            Credentials(token=token, project=project, on_behalf_of=on_behalf_of)
        )


def revocation(
    kind: str, project: str, identifier: str = "", *, at: datetime | None = None, **changes: object
) -> bytes:
    """Return a record's value."""
    revoked_at = at or datetime.now(UTC) + timedelta(seconds=1)
    given = {"kind": kind, "project": project, "id": identifier, "revoke_time": revoked_at.isoformat()}
    return json.dumps({**given, **changes}).encode()
