"""Use case: issue an API key."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core import resources
from tidemill_core.application import Caller, Clock
from tidemill_core.resources import Write
from tidemill_monitor.access.api_key_crud import ApiKeyCrud, KeyOverview
from tidemill_monitor.access.domain.api_key import ApiKey, KeyRequest
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.revocations import issued_after
from tidemill_monitor.access.domain.tokens import TOKEN_BYTES, TokenClaims
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.ports import ApiKeys, Rpcs, ServiceAccounts, TokenIssuer
from tidemill_monitor.errors import TokenTooLarge

DEFAULT_LIFETIME = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key with its token, which is nowhere else; "" where the request is repeated or only validated."""

    overview: KeyOverview
    token: str

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"IssuedKey(overview={self.overview!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueKey:
    """Signs a token for a service account, and stores what is needed to revoke it."""

    api_keys: ApiKeys
    service_accounts: ServiceAccounts
    keys: ApiKeyCrud
    grants: Grants
    issuer: TokenIssuer
    rpcs: Rpcs
    clock: Clock
    limits: Limits
    lifetimes: Lifetimes

    async def __call__(self, caller: Caller, asked: KeyRequest, write: Write) -> IssuedKey:
        """Return the key and its token.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            ServiceAccountNotFound, ProjectNotFound: there is none.
            AlreadyExists: the id is taken.
            GivesMoreThanHeld: the service account may do more than the caller.
            IssuingNotConfigured: this installation issues no tokens.
            TokenTooLarge: services would refuse the token.

        """
        now, longest = self.clock.now(), self.lifetimes.keys
        asked.check(self.limits, known=self.rpcs, now=now, longest=longest)
        await self.grants.active_project(caller.project)
        account = await self.service_accounts.get(caller.project, asked.service_account)
        await self.grants.check_given(caller, "api_key.service_account", account.roles)
        grant = await self.grants.of(caller.project, account.roles)
        expire_time = asked.expire_time or now + min(DEFAULT_LIFETIME, longest)
        claims = TokenClaims(
            subject=account.subject,
            project=caller.project,
            roles=grant.roles,
            permissions=grant.permissions,
            scopes=asked.scopes,
            credential=str(uuid.uuid4()),
            issue_time=issued_after(now, account.revoked, grant.revoked),
            expire_time=expire_time.replace(microsecond=0),
            public_key=asked.public_key,
            event_source=asked.event_source,
        )
        token = signed(self.issuer, claims)
        key = ApiKey(
            id=asked.id,
            project=caller.project,
            labels=dict(asked.labels),
            service_account=account.id,
            roles=grant.roles,
            scopes=asked.scopes,
            credential=claims.credential,
            digest=hashlib.sha256(token.encode()).hexdigest(),
            issue_time=claims.issue_time,
            expire_time=claims.expire_time,
            public_key=asked.public_key,
            event_source=asked.event_source,
        )
        saved = await resources.create(self.api_keys, key, write)
        (overview,) = await self.keys.overviews(caller, [saved])
        shown = saved.digest == key.digest and not write.validate_only
        return IssuedKey(overview=overview, token=token if shown else "")


def signed(issuer: TokenIssuer, claims: TokenClaims) -> str:
    """Return a token that services accept.

    Raises:
        IssuingNotConfigured: this installation issues no tokens.
        TokenTooLarge: services would refuse it.

    """
    token = issuer.issue(claims)
    if len(token) > TOKEN_BYTES:
        raise TokenTooLarge(what="bytes", size=len(token), limit=TOKEN_BYTES)
    return token
