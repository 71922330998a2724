"""The identity provider that vouches for people: an issuer of OpenID Connect, found by discovery."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from tidemill_kit.access.documents import Read, key_set_of
from tidemill_kit.access.errors import CredentialInvalid
from tidemill_kit.access.keys import IssuerKeys, KeyTimes
from tidemill_kit.access.tokens import Token
from tidemill_monitor.access.domain.tokens import Identity
from tidemill_monitor.errors import LoginNotConfigured

_NAME = re.compile(r"[!-~]{1,200}")
_EMAIL = "email"


class NoIdentityProvider:
    """Implements `ports.IdentityProvider` where there is none."""

    async def identify(self, _token: str, /) -> Identity:
        """See `IdentityProvider.identify`."""
        raise LoginNotConfigured


class OpenIdProvider:
    """Implements `ports.IdentityProvider` by ID tokens (OpenID Connect Core 1.0, section 2).

    The keys are read when a token comes, and again when they are older than `keys_max_age_s`: no person logs in at a
    provider that does not answer anyway.
    """

    def __init__(  # noqa: PLR0913 - what an issuer and its tokens are
        self,
        issuer: str,
        *,
        client_id: str,
        subject_claim: str = "sub",
        groups_claim: str = "groups",
        leeway_s: float = 30.0,
        keys_max_age_s: float = 300.0,
        read: Read | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = IssuerKeys(issuer, read or key_set_of(issuer, ""), KeyTimes(hold_s=keys_max_age_s))
        self._client_id = client_id
        self._subject_claim, self._groups_claim = subject_claim, groups_claim
        self._leeway_s = leeway_s
        self._now = now

    async def identify(self, token: str, /) -> Identity:
        """See `IdentityProvider.identify`."""
        read = Token.read(token, untyped=True)  # ID tokens need no `typ`, and most have none
        if read.issuer != self._keys.issuer:
            raise CredentialInvalid
        key = await self._keys.key(read.key_id)
        claims = read.checked(key, audience=self._client_id, leeway_s=self._leeway_s, now=self._now())
        # Of several audiences the token was given to the authorized party, which may not be this client.
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", "" if several else self._client_id) != self._client_id:
            raise CredentialInvalid
        return Identity(name=self._name(claims), groups=self._groups(claims))

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims.get(self._subject_claim)
        unverified = self._subject_claim == _EMAIL and claims.get("email_verified") is not True
        if not isinstance(name, str) or not _NAME.fullmatch(name) or unverified:
            raise CredentialInvalid
        return name

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the groups; one whose name no member can have gives nothing."""
        given = claims.get(self._groups_claim)
        named = given if isinstance(given, list) else []
        return tuple(each for each in named if isinstance(each, str) and _NAME.fullmatch(each))
