"""Who calls: one function for gRPC, HTTP and Kafka, from a credential to a `Caller`."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cachetools import LRUCache

from tidemill_core.application import Caller
from tidemill_core.errors import TidemillError, Unauthenticated
from tidemill_core.grpc.context import HOW_TO_NAME_A_PROJECT, PERSON, PROJECT_SLUG
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.errors import (
    CredentialExpired,
    CredentialInvalid,
    OnBehalfNotAllowed,
    ProjectDeleted,
    ProjectNotAllowed,
    TooManyBadCredentials,
)
from tidemill_kit.access.keys import SigningKeys
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.tokens import ANY_PROJECT, AUDIENCE, EVENTS, Claims, Token
from tidemill_kit.runtime.rates import Rates

MAX_CACHED = 10_000
CACHED_S = 60.0
"""How long a verified token is not verified again; revocation, expiry and changed keys count at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """A caller, and what the credential says."""

    caller: Caller
    claims: Claims


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    generation: int
    until: float


class Authenticator:
    """Checks credentials against the issuers' keys and what was revoked."""

    def __init__(  # noqa: PLR0913 - its parts, put together once
        self,
        keys: SigningKeys,
        revocations: Revocations,
        *,
        audience: str = AUDIENCE,
        leeway_s: float = 30.0,
        max_lifetime_s: float = math.inf,
        now: Callable[[], float] = time.time,
        max_failures_per_minute: float = 0,
        opens_deleted: bool = False,
    ) -> None:
        """Prepare; `opens_deleted` lets admins of the installation call for projects that were deleted."""
        self._failures = Rates(max_failures_per_minute)
        self.revocations = revocations
        self._keys = keys
        self._audience = audience
        self._leeway_s = leeway_s
        self._max_lifetime_s = max_lifetime_s
        self._now = now
        self._opens_deleted = opens_deleted
        self._verified: LRUCache[bytes, _Verified] = LRUCache(MAX_CACHED)

    async def authenticate(
        self, credentials: Credentials, *, seen: Callable[[Caller], None] = lambda _: None
    ) -> Authenticated:
        """Return who calls, for which project; `seen` gets who it is where project or subject is refused.

        Raises:
            Unauthenticated: the credential is not good.
            TooManyBadCredentials: too many came from the caller's address; one that was verified before still counts.
            PermissionDenied: it is not for the project that the call names, or not for calling on behalf of others.
            DependencyUnavailable: that cannot be checked now.

        """
        claims = await self._claims(credentials)
        self.revocations.check(claims)
        subject = credentials.on_behalf_of
        try:
            project = _project(claims, credentials.project)
            if subject and (not claims.service or not PERSON.fullmatch(subject)):
                raise OnBehalfNotAllowed
            on_its_own = claims.service and not subject  # which ends what still runs
            if not (on_its_own or self._opens_deleted) and self.revocations.deleted(project):
                raise ProjectDeleted(project)
        except TidemillError:
            seen(Caller(project=claims.project, subject=claims.subject, credential=claims.id, via=claims.service))
            raise
        caller = Caller(
            project=project,
            subject=subject or claims.subject,
            roles=claims.roles,
            groups=claims.groups,
            permissions=claims.permissions,
            scopes=claims.scopes,
            credential=claims.id,
            via=claims.service,
        )
        return Authenticated(caller=caller, claims=claims)

    async def _claims(self, credentials: Credentials) -> Claims:
        """Return what a token says, that its issuer signed and that is for now."""
        now = self._now()
        known = self._known(credentials.token, self._audience, at=now)
        if known is not None:
            return known
        address = credentials.address
        good_before = _digest(credentials.token, self._audience) in self._verified
        if not good_before and (wait_s := self._failures.wait_s(address)):
            raise TooManyBadCredentials(wait_s)
        try:
            return await self._verify(credentials.token, self._audience, at=now)
        except Unauthenticated:
            self._failures.take(address)
            raise

    async def publisher(self, token: str, *, at: float) -> Claims:
        """See `submissions.Certificates`: a token of our own issuer, for events, with a public key."""
        audience = self._audience + EVENTS
        claims = self._known(token, audience, at=at) or await self._verify(token, audience, at=at)
        if claims.issuer != self._keys.first_party or not claims.public_key:
            raise CredentialInvalid
        self.revocations.check(claims)
        return claims

    def _known(self, text: str, audience: str, *, at: float) -> Claims | None:
        """Return what a token says that was verified a moment ago, if it counted at that time."""
        known = self._verified.get(_digest(text, audience))
        if known is not None and known.until > self._now():
            keys = self._keys.of(known.claims.issuer)
            keys.check_held()
            if keys.generation == known.generation:
                if known.claims.expire_time <= at - self._leeway_s:
                    raise CredentialExpired
                if known.claims.issue_time > at + self._leeway_s:
                    raise CredentialInvalid
                return known.claims
        return None

    async def _verify(self, text: str, audience: str, *, at: float) -> Claims:
        token = Token.read(text)
        keys = self._keys.of(token.issuer)
        key = await keys.key(token.key_id)
        ours = token.issuer == self._keys.first_party
        claims = token.verified(key, audience=audience, leeway_s=self._leeway_s, now=at, first_party=ours)
        if not ours:
            claims = self._bounded(claims)
        digest = _digest(text, audience)
        self._verified[digest] = _Verified(claims, keys.generation, self._now() + CACHED_S)
        return claims

    def _bounded(self, claims: Claims) -> Claims:
        """Return what another issuer's token says, dated so that no clock of an issuer outruns a revocation.

        Raises:
            CredentialInvalid: it lasts longer than revocations are kept for.

        """
        if claims.expire_time - claims.issue_time > self._max_lifetime_s:
            raise CredentialInvalid
        return replace(claims, issue_time=claims.issue_time - self._leeway_s)


def _digest(text: str, audience: str) -> bytes:
    return hashlib.sha256(f"{audience} {text}".encode()).digest()


def _project(claims: Claims, named: str) -> str:
    """Return the project of the call: that of the credential; of one for every project, the one that the call names."""
    if claims.project != ANY_PROJECT:
        if named not in ("", claims.project):
            raise ProjectNotAllowed
        return claims.project
    if not PROJECT_SLUG.fullmatch(named):
        raise Unauthenticated(HOW_TO_NAME_A_PROJECT)
    return named
