"""What access needs of others."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates, Page, PageRequest
from tidemill_monitor.access.domain.api_key import ApiKey
from tidemill_monitor.access.domain.installation import Installation
from tidemill_monitor.access.domain.project import Project
from tidemill_monitor.access.domain.resource_grant import ResourceGrant
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.access.domain.tokens import Identity, TokenClaims

Projects = Aggregates[Project]
"""A project is stored within itself: the id is the project."""
ServiceAccounts = Aggregates[ServiceAccount]
ApiKeys = Aggregates[ApiKey]
Roles = Aggregates[Role]
Installations = Aggregates[Installation]
"""There is one, of the project `*`."""

Rpcs = Collection[str]
"""The RPCs that a project's admin may allow, such as `tidemill.rag.v1.RetrievalService/Search`."""


class AllProjects(Protocol):
    """The projects of the installation."""

    async def list(self, page: PageRequest) -> Page[Project]:
        """Return a page in the order of ids, without members.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        ...

    async def count(self, *, limit: int) -> int:
        """Return how many are in use, which deleted ones are not, counting no further than `limit`."""
        ...


class LegalHolds(Protocol):
    """What may not be erased."""

    async def active(self, project: str) -> Sequence["LegalHold"]:
        """Return the holds of anything in the project that are not released."""
        ...


class LegalHold(Protocol):
    """Something that may not be erased."""

    @property
    def id(self) -> str:
        """Its name."""
        ...


ResourceGrants = Aggregates[ResourceGrant]


class Catalogue(Protocol):
    """What projects are given, across those that give it."""

    async def list(self, grantee: str, page: PageRequest) -> Page[ResourceGrant]:
        """Return a page of the grants for a project, by owner, without those of deleted projects.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        ...


class KeyUses(Protocol):
    """When the keys of a project were last used, by their credentials."""

    async def record(self, project: str, uses: Mapping[str, datetime]) -> None:
        """Keep the later ones of these times and those that are known."""
        ...

    async def last(self, project: str, credentials: Sequence[str]) -> Mapping[str, datetime]:
        """Return those that are known."""
        ...


class RevokedCredentials(Protocol):
    """What the services have read of revocations."""

    def revoked(self, project: str, credential: str) -> bool:
        """Return whether one credential of a project was revoked by its id."""
        ...


class TokenIssuer(Protocol):
    """Signs tokens."""

    def issue(self, claims: TokenClaims, /) -> str:
        """Return a token that says so.

        Raises:
            IssuingNotConfigured: there is no key.

        """
        ...


class IdentityProvider(Protocol):
    """Who vouches for people."""

    async def identify(self, token: str, /) -> Identity:
        """Return the person whose ID token it is.

        Raises:
            LoginNotConfigured: there is no provider.
            Unauthenticated: the token is none of this provider, or not for this client, or no longer valid.
            DependencyUnavailable: the provider does not answer.

        """
        ...
