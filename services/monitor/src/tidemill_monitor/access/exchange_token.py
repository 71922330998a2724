"""Use case: exchange a person's token of the identity provider for one of a project (RFC 8693 in spirit)."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_core.application import Clock
from tidemill_monitor.access.domain.installation import ID
from tidemill_monitor.access.domain.names import ALL_PROJECTS, GROUP, INSTALLATION_ADMIN, USER
from tidemill_monitor.access.domain.project import ProjectState
from tidemill_monitor.access.domain.revocations import issued_after
from tidemill_monitor.access.domain.tokens import Identity, TokenClaims
from tidemill_monitor.access.grants import Grants, Lifetimes
from tidemill_monitor.access.issue_key import signed
from tidemill_monitor.access.ports import IdentityProvider, Installations, Projects, TokenIssuer
from tidemill_monitor.errors import NotAMember, TokenTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangedToken:
    """A token of a project, and what it says."""

    token: str = field(repr=False)
    expire_time: datetime
    subject: str
    project: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeToken:
    """Roles are those that the project gives to the person and to the person's groups."""

    projects: Projects
    installations: Installations
    grants: Grants
    issuer: TokenIssuer
    identity_provider: IdentityProvider
    clock: Clock
    lifetimes: Lifetimes
    installation_admins: Collection[str]
    """Subjects (`user:<name>`, `group:<name>`) that are an admin of all projects."""

    async def __call__(self, token: str, project: str) -> ExchangedToken:
        """Return the token of the project; "*" stands for all.

        Raises:
            LoginNotConfigured, IssuingNotConfigured: this installation lacks a setting.
            Unauthenticated: the token is not accepted.
            NotAMember: the person has no role there.
            TokenTooLarge: it would carry more roles, groups or RPCs than services accept.
            DependencyUnavailable: the identity provider does not answer.

        """
        person = await self.identity_provider.identify(token)
        now = self.clock.now()
        everywhere = (await self.installations.get_many(ALL_PROJECTS, [ID])).get(ID)
        revoked = [everywhere.revoked.get(name) for name in self._names(person)] if everywhere is not None else []
        if project == ALL_PROJECTS:
            return self._issued(self._of_installation(person, issued_after(now, *revoked)))
        return self._issued(await self._of_project(person, project, now=issued_after(now, *revoked)))

    def _of_installation(self, person: Identity, issue_time: datetime) -> TokenClaims:
        if not self._names(person) & set(self.installation_admins):
            raise NotAMember(ALL_PROJECTS)
        groups = tuple(group for group in person.groups if f"{GROUP}{group}" in self.installation_admins)
        return self._claims(person, ALL_PROJECTS, (INSTALLATION_ADMIN,), groups=groups, issue_time=issue_time)

    async def _of_project(self, person: Identity, project: str, *, now: datetime) -> TokenClaims:
        found = (await self.projects.get_many(project, [project])).get(project)
        names = self._names(person)
        bindings = [each for each in found.members if each.subject in names] if found is not None else []
        if found is None or found.state is not ProjectState.ACTIVE or not bindings:
            raise NotAMember(project)
        grant = await self.grants.of(project, (role for each in bindings for role in each.roles))
        revoked = [found.revoked.get(name) for name in names]
        # Only groups that gave roles: they are what a revocation names, and some people are in hundreds.
        groups = tuple(each.subject.removeprefix(GROUP) for each in bindings if each.subject.startswith(GROUP))
        if len(groups) > self.grants.limits.token_groups:
            raise TokenTooLarge(what="groups", size=len(groups), limit=self.grants.limits.token_groups)
        return self._claims(
            person,
            project,
            grant.roles,
            groups=groups,
            permissions=grant.permissions,
            issue_time=issued_after(now, grant.revoked, *revoked),
        )

    def _claims(  # noqa: PLR0913 - what a token says
        self,
        person: Identity,
        project: str,
        roles: tuple[str, ...],
        *,
        issue_time: datetime,
        groups: tuple[str, ...] = (),
        permissions: tuple[str, ...] = (),
    ) -> TokenClaims:
        return TokenClaims(
            subject=f"{USER}{person.name}",
            project=project,
            roles=roles,
            groups=groups,
            permissions=permissions,
            credential=str(uuid.uuid4()),
            issue_time=issue_time,
            expire_time=issue_time + self.lifetimes.tokens,
        )

    def _issued(self, claims: TokenClaims) -> ExchangedToken:
        return ExchangedToken(
            token=signed(self.issuer, claims),
            expire_time=claims.expire_time,
            subject=claims.subject,
            project=claims.project,
            roles=claims.roles,
        )

    @staticmethod
    def _names(person: Identity) -> set[str]:
        return {f"{USER}{person.name}", *(f"{GROUP}{group}" for group in person.groups)}
