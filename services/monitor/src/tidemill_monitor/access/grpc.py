"""AccessService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceServicer
from tidemill_core.application import Caller
from tidemill_kit.audit.calls import identified
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, timestamp_of, write_of
from tidemill_kit.mapping import from_timestamp, to_message
from tidemill_monitor.access import member_crud, project_crud, role_crud, service_account_crud
from tidemill_monitor.access.api_key_crud import ApiKeyCrud
from tidemill_monitor.access.exchange_token import ExchangeToken
from tidemill_monitor.access.issue_key import IssueKey
from tidemill_monitor.access.member_crud import MemberCrud
from tidemill_monitor.access.messages import (
    grant_message,
    key_message,
    key_request_of,
    member_message,
    member_of,
    project_of,
    resource_grant_of,
    role_of,
    service_account_of,
)
from tidemill_monitor.access.project_crud import ProjectCrud
from tidemill_monitor.access.record_use import RecordUse
from tidemill_monitor.access.resource_grant_crud import ResourceGrantCrud
from tidemill_monitor.access.revoke_tokens import RevokeTokens
from tidemill_monitor.access.role_crud import RoleCrud
from tidemill_monitor.access.service_account_crud import ServiceAccountCrud


@dataclass(frozen=True, kw_only=True)
class ProjectRpcs:
    """The RPCs about projects."""

    projects: ProjectCrud

    async def CreateProject(self, request: pb.CreateProjectRequest, _context: object) -> pb.CreateProjectResponse:
        """See the contract."""
        required(request, "project")
        given = project_of(request.project)
        created = await self.projects.create(current_caller(), given, request.admin, write_of(request))
        return to_message(pb.CreateProjectResponse, project=created)

    async def GetProject(self, request: pb.GetProjectRequest, _context: object) -> pb.GetProjectResponse:
        """See the contract."""
        return to_message(pb.GetProjectResponse, project=await self.projects.get(current_caller(), request.id))

    async def ListProjects(self, request: pb.ListProjectsRequest, _context: object) -> pb.ListProjectsResponse:
        """See the contract."""
        page = await self.projects.list(current_caller(), page_of(request))
        return to_message(pb.ListProjectsResponse, projects=page.items, next_page_token=page.next_token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, _context: object) -> pb.UpdateProjectResponse:
        """See the contract."""
        required(request, "project")
        paths = paths_of(request.update_mask, allowed=project_crud.CHANGEABLE)
        write = write_of(request, etag=request.project.etag)
        updated = await self.projects.update(current_caller(), project_of(request.project), paths, write)
        return to_message(pb.UpdateProjectResponse, project=updated)

    async def DeleteProject(self, request: pb.DeleteProjectRequest, _context: object) -> pb.DeleteProjectResponse:
        """See the contract."""
        deleted = await self.projects.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteProjectResponse, project=deleted)


@dataclass(frozen=True, kw_only=True)
class MemberRpcs:
    """The RPCs about members."""

    members: MemberCrud

    async def CreateMember(self, request: pb.CreateMemberRequest, _context: object) -> pb.CreateMemberResponse:
        """See the contract."""
        required(request, "member")
        caller = current_caller()
        created = await self.members.create(caller, member_of(request.member), write_of(request))
        return pb.CreateMemberResponse(member=member_message(created, caller.project))

    async def GetMember(self, request: pb.GetMemberRequest, _context: object) -> pb.GetMemberResponse:
        """See the contract."""
        caller = current_caller()
        return pb.GetMemberResponse(member=member_message(await self.members.get(caller, request.id), caller.project))

    async def ListMembers(self, request: pb.ListMembersRequest, _context: object) -> pb.ListMembersResponse:
        """See the contract."""
        caller = current_caller()
        page = await self.members.list(caller, page_of(request))
        members = [member_message(each, caller.project) for each in page.items]
        return pb.ListMembersResponse(members=members, next_page_token=page.next_token)

    async def UpdateMember(self, request: pb.UpdateMemberRequest, _context: object) -> pb.UpdateMemberResponse:
        """See the contract."""
        required(request, "member")
        paths_of(request.update_mask, allowed=member_crud.CHANGEABLE)
        caller, write = current_caller(), write_of(request, etag=request.member.etag)
        updated = await self.members.update(caller, member_of(request.member), write)
        return pb.UpdateMemberResponse(member=member_message(updated, caller.project))

    async def DeleteMember(self, request: pb.DeleteMemberRequest, _context: object) -> pb.DeleteMemberResponse:
        """See the contract."""
        caller = current_caller()
        deleted = await self.members.delete(caller, request.id, write_of(request))
        return pb.DeleteMemberResponse(member=member_message(deleted, caller.project))


@dataclass(frozen=True, kw_only=True)
class ServiceAccountRpcs:
    """The RPCs about service accounts."""

    service_accounts: ServiceAccountCrud

    async def CreateServiceAccount(
        self, request: pb.CreateServiceAccountRequest, _context: object
    ) -> pb.CreateServiceAccountResponse:
        """See the contract."""
        required(request, "service_account")
        caller = current_caller()
        given = service_account_of(request.service_account, caller.project)
        created = await self.service_accounts.create(caller, given, write_of(request))
        return to_message(pb.CreateServiceAccountResponse, service_account=created)

    async def GetServiceAccount(
        self, request: pb.GetServiceAccountRequest, _context: object
    ) -> pb.GetServiceAccountResponse:
        """See the contract."""
        found = await self.service_accounts.get(current_caller(), request.id)
        return to_message(pb.GetServiceAccountResponse, service_account=found)

    async def ListServiceAccounts(
        self, request: pb.ListServiceAccountsRequest, _context: object
    ) -> pb.ListServiceAccountsResponse:
        """See the contract."""
        page = await self.service_accounts.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListServiceAccountsResponse, service_accounts=page.items, next_page_token=page.next_token)

    async def UpdateServiceAccount(
        self, request: pb.UpdateServiceAccountRequest, _context: object
    ) -> pb.UpdateServiceAccountResponse:
        """See the contract."""
        required(request, "service_account")
        caller, given = current_caller(), request.service_account
        paths = paths_of(request.update_mask, allowed=service_account_crud.CHANGEABLE)
        write = write_of(request, etag=given.etag)
        updated = await self.service_accounts.update(caller, service_account_of(given, caller.project), paths, write)
        return to_message(pb.UpdateServiceAccountResponse, service_account=updated)

    async def DeleteServiceAccount(
        self, request: pb.DeleteServiceAccountRequest, _context: object
    ) -> pb.DeleteServiceAccountResponse:
        """See the contract."""
        deleted = await self.service_accounts.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteServiceAccountResponse, service_account=deleted)


@dataclass(frozen=True, kw_only=True)
class RoleRpcs:
    """The RPCs about roles."""

    roles: RoleCrud

    async def CreateRole(self, request: pb.CreateRoleRequest, _context: object) -> pb.CreateRoleResponse:
        """See the contract."""
        required(request, "role")
        caller = current_caller()
        created = await self.roles.create(caller, role_of(request.role, caller.project), write_of(request))
        return to_message(pb.CreateRoleResponse, role=created)

    async def GetRole(self, request: pb.GetRoleRequest, _context: object) -> pb.GetRoleResponse:
        """See the contract."""
        return to_message(pb.GetRoleResponse, role=await self.roles.get(current_caller(), request.id))

    async def ListRoles(self, request: pb.ListRolesRequest, _context: object) -> pb.ListRolesResponse:
        """See the contract."""
        page = await self.roles.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListRolesResponse, roles=page.items, next_page_token=page.next_token)

    async def UpdateRole(self, request: pb.UpdateRoleRequest, _context: object) -> pb.UpdateRoleResponse:
        """See the contract."""
        required(request, "role")
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=role_crud.CHANGEABLE)
        write = write_of(request, etag=request.role.etag)
        updated = await self.roles.update(caller, role_of(request.role, caller.project), paths, write)
        return to_message(pb.UpdateRoleResponse, role=updated)

    async def DeleteRole(self, request: pb.DeleteRoleRequest, _context: object) -> pb.DeleteRoleResponse:
        """See the contract."""
        deleted = await self.roles.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteRoleResponse, role=deleted)


@dataclass(frozen=True, kw_only=True)
class ApiKeyRpcs:
    """The RPCs about API keys."""

    issue_key: IssueKey
    api_keys: ApiKeyCrud

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _context: object) -> pb.CreateApiKeyResponse:
        """See the contract."""
        required(request, "api_key")
        issued = await self.issue_key(current_caller(), key_request_of(request.api_key), write_of(request))
        return pb.CreateApiKeyResponse(api_key=key_message(issued.overview), token=issued.token)

    async def GetApiKey(self, request: pb.GetApiKeyRequest, _context: object) -> pb.GetApiKeyResponse:
        """See the contract."""
        return pb.GetApiKeyResponse(api_key=key_message(await self.api_keys.get(current_caller(), request.id)))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _context: object) -> pb.ListApiKeysResponse:
        """See the contract."""
        asked = page_of(request, filters={"service_account": "service_account"})
        page = await self.api_keys.list(current_caller(), asked)
        return pb.ListApiKeysResponse(api_keys=[*map(key_message, page.items)], next_page_token=page.next_token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _context: object) -> pb.RevokeApiKeyResponse:
        """See the contract."""
        revoked = await self.api_keys.revoke(current_caller(), request.id, write_of(request))
        return pb.RevokeApiKeyResponse(api_key=key_message(revoked))

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, _context: object) -> pb.DeleteApiKeyResponse:
        """See the contract."""
        deleted = await self.api_keys.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteApiKeyResponse(api_key=key_message(deleted))


@dataclass(frozen=True, kw_only=True)
class GrantRpcs:
    """The RPCs about what projects share."""

    resource_grants: ResourceGrantCrud

    async def CreateGrant(self, request: pb.CreateGrantRequest, _context: object) -> pb.CreateGrantResponse:
        """See the contract."""
        required(request, "grant")
        caller = current_caller()
        given = resource_grant_of(request.grant, caller.project)
        created = await self.resource_grants.create(caller, given, write_of(request))
        return pb.CreateGrantResponse(grant=grant_message(created))

    async def ListGrants(self, request: pb.ListGrantsRequest, _context: object) -> pb.ListGrantsResponse:
        """See the contract."""
        page = await self.resource_grants.list(current_caller(), page_of(request, filters={}))
        grants = [grant_message(each.grant, last_use_time=each.last_use_time) for each in page.items]
        return pb.ListGrantsResponse(grants=grants, next_page_token=page.next_token)

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, _context: object) -> pb.RevokeGrantResponse:
        """See the contract."""
        revoked = await self.resource_grants.revoke(current_caller(), request.id, write_of(request))
        return pb.RevokeGrantResponse(grant=grant_message(revoked))

    async def ListCatalogue(self, request: pb.ListCatalogueRequest, _context: object) -> pb.ListCatalogueResponse:
        """See the contract."""
        page = await self.resource_grants.list_catalogue(current_caller(), page_of(request))
        return pb.ListCatalogueResponse(grants=map(grant_message, page.items), next_page_token=page.next_token)


@dataclass(frozen=True, kw_only=True)
class GrpcAccessService(
    ProjectRpcs, MemberRpcs, ServiceAccountRpcs, RoleRpcs, ApiKeyRpcs, GrantRpcs, AccessServiceServicer
):
    """Projects, who may do what in them, and credentials."""

    exchange_token: ExchangeToken
    revoke_tokens: RevokeTokens
    record_use: RecordUse
    configuration: pb.GetAccessConfigurationResponse

    async def RevokeToken(self, request: pb.RevokeTokenRequest, _context: object) -> pb.RevokeTokenResponse:
        """See the contract."""
        revoke_time = await self.revoke_tokens.token(current_caller(), request.token_id, write_of(request))
        return pb.RevokeTokenResponse(revoke_time=timestamp_of(revoke_time))

    async def RevokeSubject(self, request: pb.RevokeSubjectRequest, _context: object) -> pb.RevokeSubjectResponse:
        """See the contract."""
        revoke_time = await self.revoke_tokens.subject(current_caller(), request.subject, write_of(request))
        return pb.RevokeSubjectResponse(revoke_time=timestamp_of(revoke_time))

    async def RecordUse(self, request: pb.RecordUseRequest, _context: object) -> pb.RecordUseResponse:
        """See the contract."""
        uses = {
            each.credential: from_timestamp(each.use_time, field=f"uses[{at}].use_time")
            for at, each in enumerate(request.uses)
        }
        await self.record_use(current_caller(), uses)
        return pb.RecordUseResponse()

    async def WhoAmI(self, _request: pb.WhoAmIRequest, _context: object) -> pb.WhoAmIResponse:
        """See the contract."""
        return to_message(pb.WhoAmIResponse, current_caller())

    async def ExchangeToken(self, request: pb.ExchangeTokenRequest, _context: object) -> pb.ExchangeTokenResponse:
        """See the contract."""
        exchanged = await self.exchange_token(request.subject_token, request.project)
        identified(Caller(project=exchanged.project, subject=exchanged.subject))
        return to_message(pb.ExchangeTokenResponse, exchanged, expire_time=timestamp_of(exchanged.expire_time))

    async def GetAccessConfiguration(
        self, _request: pb.GetAccessConfigurationRequest, _context: object
    ) -> pb.GetAccessConfigurationResponse:
        """See the contract."""
        return self.configuration
