"""Projects, members, service accounts, roles and API keys."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill.monitor.v1.access_pb2 import ApiKey, Grant, Member, Project, ResourceKind, Role, ServiceAccount
from tidemill_client.connection import Connection
from tidemill_client.enums import value_of
from tidemill_client.pages import each
from tidemill_client.resources import Resources
from tidemill_core.errors import NotFound, PreconditionFailed


class KeyWithoutToken(PreconditionFailed):
    """The key was created by an earlier attempt, whose answer was lost with the token."""

    reason = "KEY_WITHOUT_TOKEN"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"API key {key} was created, and the answer with its token was lost: delete it, create another"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A new API key; its token is shown this once."""

    key: ApiKey
    token: str = field(repr=False)


class Projects(Resources[Project]):
    """The projects that the caller may see. A deleted one's credentials are revoked for good."""

    contract, stub, noun, field = pb, "access", "Project", "project"

    async def create(self, resource: Project, *, validate_only: bool = False, admin: str = "") -> Project:
        """Create a project, with the caller, or `admin` (`user:<name>`, `group:<name>`), as its first admin."""
        return await self._call("Create", project=resource, validate_only=validate_only, admin=admin)


class Members(Resources[Member]):
    """The persons and groups with roles in a project."""

    contract, stub, noun, field = pb, "access", "Member", "member"

    async def add(self, subject: str, *roles: str) -> Member:
        """Give roles to `user:<name>` or `group:<name>`."""
        return await self.create(Member(subject=subject, roles=roles))

    async def of(self, subject: str) -> Member:
        """Return the member with this subject.

        Raises:
            NotFound: there is none.

        """
        async for member in self.all():
            if member.subject == subject:
                return member
        message = f"{subject} is no member of this project"
        raise NotFound(message)

    async def change(self, subject: str, *roles: str) -> Member:
        """Give a member other roles; tokens with roles that it loses are revoked."""
        member = await self.of(subject)
        return await self.update(Member(id=member.id, etag=member.etag, roles=roles), "roles")

    async def remove(self, subject: str) -> Member:
        """Remove a member; its tokens are revoked. The last admin stays."""
        member = await self.of(subject)
        return await self.delete(member.id, etag=member.etag)


class ServiceAccounts(Resources[ServiceAccount]):
    """The identities of programs. API keys of one that loses roles, or is deleted, are revoked."""

    contract, stub, noun, field = pb, "access", "ServiceAccount", "service_account"


class Roles(Resources[Role]):
    """A project's own roles: sets of RPCs, beside the built-in ones."""

    contract, stub, noun, field = pb, "access", "Role", "role"


class Keys:
    """The API keys of service accounts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(  # noqa: PLR0913 - keyword-only, each a field of the key
        self,
        name: str,
        service_account: str,
        *,
        scopes: Sequence[str] = (),
        expire_time: datetime | None = None,
        public_key: str = "",
        event_source: str = "",
    ) -> IssuedKey:
        """Issue a key, for 90 days unless it is given when it expires; `scopes` limit it to these RPCs.

        With a `public_key` its token is a publisher's certificate; see `publishing`.

        Raises:
            KeyWithoutToken: it was created by an attempt whose answer was lost.

        """
        key = ApiKey(
            id=name,
            service_account=service_account,
            scopes=scopes,
            public_key=public_key,
            event_source=event_source,
        )
        if expire_time is not None:
            key.expire_time.FromDatetime(expire_time)
        reply = await self._connection.access.CreateApiKey(pb.CreateApiKeyRequest(api_key=key))
        if not reply.token:
            raise KeyWithoutToken(name)
        return IssuedKey(key=reply.api_key, token=reply.token)

    async def get(self, name: str) -> ApiKey:
        """Return a key, without its token."""
        return (await self._connection.access.GetApiKey(pb.GetApiKeyRequest(id=name))).api_key

    def all(self, *, service_account: str = "") -> AsyncIterator[ApiKey]:
        """Yield the keys, oldest first."""
        chosen = f'service_account = "{service_account}"' if service_account else ""
        request = pb.ListApiKeysRequest(filter=chosen)
        return each(self._connection.access.ListApiKeys, request, lambda page: page.api_keys)

    async def revoke(self, name: str) -> ApiKey:
        """Revoke a key: it is refused everywhere within seconds, and stays in lists."""
        return (await self._connection.access.RevokeApiKey(pb.RevokeApiKeyRequest(id=name))).api_key

    async def delete(self, name: str) -> ApiKey:
        """Revoke a key and remove it from lists."""
        return (await self._connection.access.DeleteApiKey(pb.DeleteApiKeyRequest(id=name))).api_key


class Grants:
    """What the project lets other projects read, and they let it read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, kind: str, resource: str, grantee: str, *, description: str = "") -> Grant:
        """Let another project read a `model`, `prompt`, `dataset` or `collection`, as `<project>/<resource>`."""
        grant = Grant(
            kind=value_of(ResourceKind, kind, field="kind"), resource=resource, grantee=grantee, description=description
        )
        return (await self._connection.access.CreateGrant(pb.CreateGrantRequest(grant=grant))).grant

    def all(self) -> AsyncIterator[Grant]:
        """Yield the grants that the project has given, oldest first."""
        return each(self._connection.access.ListGrants, pb.ListGrantsRequest(), lambda page: page.grants)

    def catalogue(self) -> AsyncIterator[Grant]:
        """Yield what other projects let this one read."""
        return each(self._connection.access.ListCatalogue, pb.ListCatalogueRequest(), lambda page: page.grants)

    async def revoke(self, kind: str, resource: str, grantee: str) -> Grant:
        """Take a grant back.

        Raises:
            NotFound: there is none.

        """
        asked = (value_of(ResourceKind, kind, field="kind"), resource, grantee)
        async for grant in self.all():
            if (grant.kind, grant.resource, grant.grantee) == asked:
                return (await self._connection.access.RevokeGrant(pb.RevokeGrantRequest(id=grant.id))).grant
        message = f"{kind} {resource} is not shared with project {grantee}"
        raise NotFound(message)


class Access:
    """Who may do what in a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.projects = Projects(connection)
        """The projects that the caller may see."""
        self.members = Members(connection)
        """Persons and groups with roles."""
        self.service_accounts = ServiceAccounts(connection)
        """The identities of programs."""
        self.roles = Roles(connection)
        """The project's own roles."""
        self.keys = Keys(connection)
        """API keys."""
        self.grants = Grants(connection)
        """What projects share."""

    async def revoke_token(self, token_id: str) -> datetime:
        """Revoke a token that is no API key, by its id, in all projects; return when. For an installation admin."""
        reply = await self._connection.access.RevokeToken(pb.RevokeTokenRequest(token_id=token_id))
        return reply.revoke_time.ToDatetime(UTC)

    async def revoke_subject(self, subject: str) -> datetime:
        """Revoke all tokens of a person, a group or a service, in all projects; return those issued until when."""
        reply = await self._connection.access.RevokeSubject(pb.RevokeSubjectRequest(subject=subject))
        return reply.revoke_time.ToDatetime(UTC)

    async def whoami(self) -> pb.WhoAmIResponse:
        """Return the caller, as the credential says."""
        return await self._connection.access.WhoAmI(pb.WhoAmIRequest())
