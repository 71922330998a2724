"""Wires access: stores, use cases and what serves them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_kit.service.backend import Backend
from tidemill_monitor.access.api_key_crud import ApiKeyCrud
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.exchange_token import ExchangeToken
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.grpc import GrpcAccessService
from tidemill_monitor.access.http import WellKnown
from tidemill_monitor.access.identity_provider import NoIdentityProvider, OpenIdProvider
from tidemill_monitor.access.issue_key import IssueKey
from tidemill_monitor.access.member_crud import MemberCrud
from tidemill_monitor.access.messages import TOPIC
from tidemill_monitor.access.mongo import (
    API_KEYS,
    INSTALLATIONS,
    KEY_LISTS,
    PROJECTS,
    RESOURCE_GRANTS,
    ROLES,
    SERVICE_ACCOUNTS,
    MongoAllProjects,
    MongoCatalogue,
    MongoKeyUses,
)
from tidemill_monitor.access.ports import (
    ApiKeys,
    Catalogue,
    Installations,
    KeyUses,
    LegalHolds,
    Projects,
    ResourceGrants,
    RevokedCredentials,
    Roles,
    ServiceAccounts,
)
from tidemill_monitor.access.project_crud import ProjectCrud
from tidemill_monitor.access.record_use import RecordUse
from tidemill_monitor.access.resource_grant_crud import ResourceGrantCrud
from tidemill_monitor.access.revoke_tokens import RevokeTokens
from tidemill_monitor.access.role_crud import RoleCrud
from tidemill_monitor.access.rpcs import allowable_rpcs
from tidemill_monitor.access.service_account_crud import ServiceAccountCrud
from tidemill_monitor.access.signing import ALGORITHMS, NoIssuer, SigningKeys, signing_keys
from tidemill_monitor.errors import ApiKeyNotFound, GrantNotFound, ProjectNotFound, RoleNotFound, ServiceAccountNotFound
from tidemill_monitor.settings import MonitorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredAccess:
    """What `app.py` needs of access."""

    servicer: GrpcAccessService
    http: WellKnown
    resource_grants: ResourceGrantCrud


@dataclass(frozen=True, slots=True)
class _Stores:
    projects: Projects
    service_accounts: ServiceAccounts
    api_keys: ApiKeys
    roles: Roles
    installations: Installations
    resource_grants: ResourceGrants
    catalogue: Catalogue
    uses: KeyUses
    revoked: RevokedCredentials


def projects_of(backend: Backend) -> Projects:
    """Return the projects."""
    return backend.aggregates("projects", PROJECTS, missing=ProjectNotFound, topic=TOPIC)


def wire_access(
    settings: MonitorSettings,
    backend: Backend,
    *,
    projects: Projects,
    holds: LegalHolds,
    erase: Callable[[ResourceKey], None],
) -> WiredAccess:
    """Return what serves access; `erase` has the data of a project erased that is being deleted.

    Raises:
        SigningKeysUnusable: there are keys in the settings that cannot be used.

    """
    issuer = _issuer(settings)
    stores = _Stores(
        projects,
        backend.aggregates(
            "service_accounts",
            SERVICE_ACCOUNTS,
            missing=ServiceAccountNotFound,
            topic=TOPIC,
            quota=settings.quota("service_accounts"),
        ),
        backend.aggregates(
            "api_keys",
            API_KEYS,
            missing=ApiKeyNotFound,
            topic=TOPIC,
            lists=KEY_LISTS,
            quota=settings.quota("api_keys", remedy="delete keys that are revoked or expired"),
        ),
        backend.aggregates("roles", ROLES, missing=RoleNotFound, topic=TOPIC, quota=settings.quota("roles")),
        backend.aggregates("installation", INSTALLATIONS, missing=ProjectNotFound, topic=TOPIC),
        backend.aggregates(
            "grants", RESOURCE_GRANTS, missing=GrantNotFound, topic=TOPIC, quota=settings.quota("grants")
        ),
        backend.indexed(MongoCatalogue(backend.database["grants"], backend.database["projects"])),
        backend.indexed(MongoKeyUses(backend.database["key_uses"])),
        backend.access.revocations,
    )
    project_crud = ProjectCrud(
        projects=projects,
        every=MongoAllProjects(backend.database["projects"]),
        clock=SystemClock(),
        limits=Limits(),
        lifetimes=_lifetimes(settings),
        max_projects=settings.quota("projects").limit,
        holds=holds,
        erase=erase,
    )
    servicer = _servicer(settings, stores, project_crud, issuer)
    return WiredAccess(
        servicer=servicer,
        resource_grants=servicer.resource_grants,
        http=WellKnown(issuer=issuer.issuer, keys=issuer.public, algorithms=ALGORITHMS),
    )


def _issuer(settings: MonitorSettings) -> SigningKeys | NoIssuer:
    if settings.signing_keys_file is None:
        return NoIssuer()
    return signing_keys(settings.signing_keys_file, issuer=settings.issuer, audience=settings.access_audience)


def _lifetimes(settings: MonitorSettings) -> Lifetimes:
    return Lifetimes(
        keys=timedelta(days=settings.max_key_lifetime_days),
        tokens=timedelta(seconds=settings.token_lifetime_s),
        of_others=timedelta(seconds=settings.access_max_lifetime_s),
    )


def _servicer(
    settings: MonitorSettings, stores: _Stores, project_crud: ProjectCrud, issuer: SigningKeys | NoIssuer
) -> GrpcAccessService:
    projects, accounts, api_keys, roles = stores.projects, stores.service_accounts, stores.api_keys, stores.roles
    clock, rpcs, limits = SystemClock(), allowable_rpcs(), Limits()
    grants = Grants(projects=projects, roles=roles, limits=limits)
    keys = ApiKeyCrud(
        api_keys=api_keys,
        projects=projects,
        service_accounts=accounts,
        roles=roles,
        grants=grants,
        uses=stores.uses,
        revoked=stores.revoked,
        clock=clock,
    )
    lifetimes = _lifetimes(settings)
    shared: Any = {"clock": clock, "limits": limits, "lifetimes": lifetimes}
    return GrpcAccessService(
        projects=project_crud,
        members=MemberCrud(
            projects=projects,
            grants=grants,
            quota=settings.quota("members", remedy="add groups in place of people"),
            **shared,
        ),
        service_accounts=ServiceAccountCrud(service_accounts=accounts, grants=grants, **shared),
        roles=RoleCrud(roles=roles, projects=projects, service_accounts=accounts, grants=grants, rpcs=rpcs, **shared),
        api_keys=keys,
        issue_key=IssueKey(
            api_keys=api_keys,
            service_accounts=accounts,
            keys=keys,
            grants=grants,
            issuer=issuer,
            rpcs=rpcs,
            **shared,
        ),
        resource_grants=ResourceGrantCrud(
            resource_grants=stores.resource_grants,
            catalogue=stores.catalogue,
            grants=grants,
            uses=stores.uses,
            clock=clock,
            limits=limits,
        ),
        record_use=RecordUse(uses=stores.uses, projects=stores.projects, clock=clock),
        revoke_tokens=RevokeTokens(installations=stores.installations, clock=clock),
        exchange_token=ExchangeToken(
            projects=projects,
            installations=stores.installations,
            grants=grants,
            issuer=issuer,
            identity_provider=_identity_provider(settings),
            clock=clock,
            lifetimes=lifetimes,
            installation_admins=settings.installation_admins,
        ),
        configuration=_configuration(settings, issuer),
    )


def _configuration(settings: MonitorSettings, issuer: SigningKeys | NoIssuer) -> pb.GetAccessConfigurationResponse:
    return pb.GetAccessConfigurationResponse(
        issuer=issuer.issuer,
        identity_provider=settings.identity_provider,
        client_id=settings.identity_client_id,
    )


def _identity_provider(settings: MonitorSettings) -> OpenIdProvider | NoIdentityProvider:
    if not settings.identity_provider:
        return NoIdentityProvider()
    return OpenIdProvider(
        settings.identity_provider,
        client_id=settings.identity_client_id,
        subject_claim=settings.identity_subject_claim,
        groups_claim=settings.identity_groups_claim,
        leeway_s=settings.access_leeway_s,
        keys_max_age_s=settings.access_keys_max_age_s,
    )
