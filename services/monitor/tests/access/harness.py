"""The use cases of access, in memory."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Page, PageRequest, Request, ResourceKey
from tidemill_core.errors import Unauthenticated
from tidemill_core.paging import checked_size
from tidemill_core.quotas import Quota
from tidemill_core.resources import Write
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.store.aggregates import Codec
from tidemill_monitor.access.api_key_crud import ApiKeyCrud
from tidemill_monitor.access.domain.api_key import KeyRequest
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.project import Member, Project, ProjectState
from tidemill_monitor.access.domain.resource_grant import ResourceGrant
from tidemill_monitor.access.domain.revocations import CredentialsWereRevoked
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.access.domain.tokens import Identity, TokenClaims
from tidemill_monitor.access.exchange_token import ExchangeToken
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.issue_key import IssuedKey, IssueKey
from tidemill_monitor.access.member_crud import MemberCrud
from tidemill_monitor.access.mongo import API_KEYS, INSTALLATIONS, PROJECTS, RESOURCE_GRANTS, ROLES, SERVICE_ACCOUNTS
from tidemill_monitor.access.project_crud import ProjectCrud
from tidemill_monitor.access.record_use import RecordUse
from tidemill_monitor.access.resource_grant_crud import ResourceGrantCrud
from tidemill_monitor.access.revoke_tokens import RevokeTokens
from tidemill_monitor.access.role_crud import RoleCrud
from tidemill_monitor.access.service_account_crud import ServiceAccountCrud
from tidemill_monitor.errors import ApiKeyNotFound, GrantNotFound, ProjectNotFound, RoleNotFound, ServiceAccountNotFound
from tidemill_monitor.holds.domain import Hold
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates

SEARCH = "tidemill.rag.v1.RetrievalService/Search"
GENERATE = "tidemill.inference.v1.InferenceService/Generate"
ASK = "tidemill.inference.v1.InferenceService/GenerateStream"
RPCS = frozenset({SEARCH, GENERATE, ASK})

OWNER = Caller(project="acme", subject="user:root", roles=frozenset({"installation_admin"}))
ADA = Caller(project="acme", subject="user:ada", roles=frozenset({"admin"}))
EVE = Caller(project="globex", subject="user:eve", roles=frozenset({"admin"}))


def write(request_id: str = "", *, etag: str = "", validate_only: bool = False, body: str = "") -> Write:
    request = Request.of(request_id, (body or request_id).encode())
    return Write(request=request, etag=etag, validate_only=validate_only)


class Signer:
    """Implements `ports.TokenIssuer` with tokens that are numbered."""

    def __init__(self) -> None:
        self.issued: list[TokenClaims] = []
        self.form = "secret-token-{}"

    def issue(self, claims: TokenClaims, /) -> str:
        self.issued.append(claims)
        return self.form.format(len(self.issued))


class Provider:
    """Implements `ports.IdentityProvider`: knows the tokens that it is given."""

    def __init__(self) -> None:
        self.people: dict[str, Identity] = {}

    async def identify(self, token: str, /) -> Identity:
        if token not in self.people:
            message = "the credential is not accepted"
            raise Unauthenticated(message)
        return self.people[token]


class EveryProject:
    """Implements `ports.AllProjects` over aggregates in memory."""

    def __init__(self, projects: InMemoryAggregates[Project]) -> None:
        self._projects = projects

    async def list(self, page: PageRequest) -> Page[Project]:
        found = sorted((each for each in self._projects.all() if each.id > page.token), key=lambda each: each.id)
        more = found[: page.size][-1].id if len(found) > page.size else ""
        return Page(
            items=[replace(each, members=(), removed=(), revoked={}) for each in found[: page.size]], next_token=more
        )

    async def count(self, *, limit: int) -> int:
        return min(limit, len([each for each in self._projects.all() if each.state is ProjectState.ACTIVE]))


class Uses:
    """Implements `ports.KeyUses` in memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], datetime] = {}

    async def record(self, project: str, uses: Mapping[str, datetime]) -> None:
        for name, used in uses.items():
            self._known[project, name] = max(used, self._known.get((project, name), used))

    async def last(self, project: str, credentials: Sequence[str]) -> Mapping[str, datetime]:
        return {each: self._known[project, each] for each in credentials if (project, each) in self._known}


class OpenHolds:
    """Implements `ports.LegalHolds`."""

    def __init__(self) -> None:
        self.of: dict[str, list[Hold]] = {}

    async def active(self, project: str) -> Sequence[Hold]:
        return self.of.get(project, [])


class GivenGrants:
    """Implements `ports.Catalogue` over aggregates in memory."""

    def __init__(self, grants: InMemoryAggregates[ResourceGrant], projects: InMemoryAggregates[Project]) -> None:
        self._grants = grants
        self._projects = projects

    async def list(self, grantee: str, page: PageRequest) -> Page[ResourceGrant]:
        found = [each for each in self._grants.all() if each.grantee == grantee and not each.deleted]
        found.sort(key=lambda each: (each.project, each.id))
        first, size = int(page.token or 0), checked_size(page)
        gone = {each.id for each in self._projects.all() if each.state is not ProjectState.ACTIVE}
        shown = [each for each in found[first : first + size] if each.project not in gone]
        return Page(items=shown, next_token=str(first + size) if len(found) > first + size else "")


def _aggregates(codec: Codec, missing: type, clock: FixedClock, quota: Quota | None = None) -> InMemoryAggregates:  # type: ignore[type-arg]
    return InMemoryAggregates(codec=codec, missing=missing, clock=clock, quota=quota)


@dataclass(kw_only=True)
class Access:
    """Stores, fakes and use cases."""

    limits: Limits = field(default_factory=Limits)
    lifetimes: Lifetimes = field(default_factory=lambda: Lifetimes(keys=timedelta(days=365), tokens=timedelta(hours=1)))
    max_projects: int = 3
    max_keys: int = 3
    max_members: int = 3

    def __post_init__(self) -> None:
        self.clock, self.signer, self.provider = FixedClock(), Signer(), Provider()
        self.holds, self.erased = OpenHolds(), list[ResourceKey]()
        clock, limits = self.clock, self.limits
        quota = Quota(of="API keys", limit=self.max_keys, setting="MONITOR_MAX_API_KEYS")
        members = Quota(of="members", limit=self.max_members, setting="MONITOR_MAX_MEMBERS")
        self.project_store: InMemoryAggregates[Project] = _aggregates(PROJECTS, ProjectNotFound, clock)
        self.account_store = _aggregates(SERVICE_ACCOUNTS, ServiceAccountNotFound, clock)
        self.key_store = _aggregates(API_KEYS, ApiKeyNotFound, clock, quota)
        self.role_store = _aggregates(ROLES, RoleNotFound, clock)
        self.installation_store = _aggregates(INSTALLATIONS, ProjectNotFound, clock)
        grant_store: InMemoryAggregates[ResourceGrant] = _aggregates(RESOURCE_GRANTS, GrantNotFound, clock)
        self.grant_store = grant_store
        self.grants = Grants(projects=self.project_store, roles=self.role_store, limits=limits)
        self._make_resources(members)
        self._make_tokens()
        self._ids = itertools.count(1)

    def _make_resources(self, members: Quota) -> None:
        clock, limits, lifetimes = self.clock, self.limits, self.lifetimes
        projects, accounts, roles = self.project_store, self.account_store, self.role_store
        self.projects = ProjectCrud(
            projects=projects,
            every=EveryProject(projects),
            clock=clock,
            limits=limits,
            lifetimes=lifetimes,
            max_projects=self.max_projects,
            holds=self.holds,
            erase=self.erased.append,
        )
        self.members = MemberCrud(
            projects=projects, grants=self.grants, clock=clock, limits=limits, lifetimes=lifetimes, quota=members
        )
        self.service_accounts = ServiceAccountCrud(
            service_accounts=accounts, grants=self.grants, clock=clock, limits=limits, lifetimes=lifetimes
        )
        self.roles = RoleCrud(
            roles=roles,
            projects=projects,
            service_accounts=accounts,
            grants=self.grants,
            rpcs=RPCS,
            clock=clock,
            limits=limits,
            lifetimes=lifetimes,
        )
        self.uses = Uses()
        self.resource_grants = ResourceGrantCrud(
            resource_grants=self.grant_store,
            catalogue=GivenGrants(self.grant_store, self.project_store),
            grants=self.grants,
            uses=self.uses,
            clock=clock,
            limits=limits,
        )

    def _make_tokens(self) -> None:
        clock, limits, lifetimes = self.clock, self.limits, self.lifetimes
        projects, accounts, keys, roles = self.project_store, self.account_store, self.key_store, self.role_store
        self.revocations = Revocations()
        self.keys = ApiKeyCrud(
            api_keys=keys,
            projects=projects,
            service_accounts=accounts,
            roles=roles,
            grants=self.grants,
            uses=self.uses,
            revoked=self.revocations,
            clock=clock,
        )
        self.record_use = RecordUse(uses=self.uses, projects=projects, clock=clock)
        self.issue_key = IssueKey(
            api_keys=keys,
            service_accounts=accounts,
            keys=self.keys,
            grants=self.grants,
            issuer=self.signer,
            rpcs=RPCS,
            clock=clock,
            limits=limits,
            lifetimes=lifetimes,
        )
        self.revoke_tokens = RevokeTokens(installations=self.installation_store, clock=clock)
        self.exchange = ExchangeToken(
            projects=projects,
            installations=self.installation_store,
            grants=self.grants,
            issuer=self.signer,
            identity_provider=self.provider,
            clock=clock,
            lifetimes=lifetimes,
            installation_admins=("user:root", "group:platform"),
        )

    @property
    def revoked(self) -> Sequence[CredentialsWereRevoked]:
        """Every revocation so far, by aggregate."""
        stores = (
            self.project_store,
            self.account_store,
            self.key_store,
            self.role_store,
            self.installation_store,
        )
        return [event for store in stores for event in store.published if isinstance(event, CredentialsWereRevoked)]

    async def with_project(self, caller: Caller = ADA, *, admin: str = "") -> Project:
        """Return the caller's project, of which the caller is an admin."""
        fresh = Project(id=caller.project, project=caller.project)
        root = replace(OWNER, project=caller.project)
        return await self.projects.create(root, fresh, admin or caller.subject, write())

    async def with_member(self, subject: str, *roles: str, caller: Caller = ADA) -> Member:
        return await self.members.create(caller, Member(subject=subject, roles=roles or ("viewer",)), write())

    async def with_account(self, *roles: str, name: str = "ci", caller: Caller = ADA) -> ServiceAccount:
        account = ServiceAccount(id=name, project=caller.project, roles=roles or ("contributor",))
        return await self.service_accounts.create(caller, account, write())

    async def with_role(self, *permissions: str, name: str = "asker", caller: Caller = ADA) -> Role:
        role = Role(id=name, project=caller.project, permissions=permissions or (ASK, GENERATE))
        return await self.roles.create(caller, role, write())

    async def with_key(self, name: str = "laptop", *, account: str = "ci", caller: Caller = ADA) -> IssuedKey:
        return await self.issue_key(caller, KeyRequest(id=name, service_account=account), write())
