"""The check of credentials put together from a service's settings."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_kit.access.authenticator import Authenticated, Authenticator
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.documents import key_set_of
from tidemill_kit.access.grants import Grants
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.key_uses import KeyUses, Monitor
from tidemill_kit.access.keys import IssuerKeys, KeyTimes, SigningKeys
from tidemill_kit.access.policy import Policy, check
from tidemill_kit.access.retention import Retention
from tidemill_kit.access.revocation_reader import RevocationReader
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.running import RunningCalls
from tidemill_kit.access.saved_keys import SavedKeys
from tidemill_kit.runtime.access import issuer_of
from tidemill_kit.runtime.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the edges ask, and the components that feed it, which start before anything is served."""

    authenticator: Authenticator
    running: RunningCalls
    keys: SigningKeys
    revocations: Revocations
    grants: Grants
    holds: Holds
    retention: Retention
    uses: KeyUses | None = None
    components: tuple[SigningKeys | RevocationReader | KeyUses, ...]

    @classmethod
    def of(cls, settings: ServiceSettings) -> "Access":
        """Return it, of the issuers that the settings name."""
        times = KeyTimes(max_age_s=settings.access_keys_max_age_s, hold_s=settings.access_keys_hold_s)
        named = map(issuer_of, settings.access_issuers)
        folder = settings.access_keys_folder
        keys = SigningKeys(
            [
                IssuerKeys(
                    issuer,
                    key_set_of(issuer, address),
                    times,
                    saved=SavedKeys(folder, issuer) if folder is not None else None,
                )
                for issuer, address in named
            ]
        )
        revocations = Revocations(hold_s=settings.access_revocations_hold_s)
        authenticator = Authenticator(
            keys,
            revocations,
            audience=settings.access_audience,
            leeway_s=settings.access_leeway_s,
            max_lifetime_s=settings.access_max_lifetime_s,
            max_failures_per_minute=settings.access_max_failures_per_minute,
            opens_deleted=settings.opens_deleted_projects,
        )
        uses = KeyUses(Monitor(settings)) if settings.access_monitor_address else None
        grants = Grants(revocations, used=uses.record_grant) if uses else Grants(revocations)
        holds, retention = Holds(revocations), Retention()
        reader = RevocationReader(settings.kafka, revocations, grants=grants, holds=holds, retention=retention)
        running = RunningCalls(revocations, leeway_s=settings.access_leeway_s)
        return cls(
            authenticator=authenticator,
            running=running,
            keys=keys,
            revocations=revocations,
            grants=grants,
            holds=holds,
            retention=retention,
            uses=uses,
            components=(keys, reader, *([uses] if uses is not None else [])),
        )

    async def admit(
        self, sent: Credentials, policy: Policy, *, seen: Callable[[Caller], None] = lambda _: None
    ) -> Authenticated:
        """Return who calls an RPC with this policy, by gRPC or HTTP; `seen` gets who it is though the RPC be refused.

        Raises:
            Unauthenticated, DependencyUnavailable: as `Authenticator.authenticate` does.
            PermissionDenied: as it does, or the caller may not call the RPC.

        """
        authenticated = await self.authenticator.authenticate(sent, seen=seen)
        seen(authenticated.caller)
        if self.uses is not None and authenticated.claims.issuer == self.keys.first_party:
            self.uses.record(authenticated.claims)
        check(authenticated.caller, policy)
        return authenticated
