"""AccessService on a real server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.monitor.tests.access.harness import SEARCH, Access
from services.monitor.tests.lineage.test_grpc import settings
from tidemill.monitor.v1 import access_pb2 as access_pb
from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub, add_AccessServiceServicer_to_server
from tidemill.options.v1 import options_pb2
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_core.grpc.client import open_channel
from tidemill_monitor.access.domain.tokens import Identity
from tidemill_monitor.access.grpc import GrpcAccessService
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer


@dataclass(kw_only=True)
class ApiClient:
    """A server on a free port, with stubs for acme and globex, of the admin of all and of their own."""

    access: Access
    acme: AccessServiceStub
    globex: AccessServiceStub
    of_acme: AccessServiceStub
    of_globex: AccessServiceStub


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    access = Access()
    servicer = GrpcAccessService(
        projects=access.projects,
        members=access.members,
        service_accounts=access.service_accounts,
        roles=access.roles,
        issue_key=access.issue_key,
        api_keys=access.keys,
        exchange_token=access.exchange,
        revoke_tokens=access.revoke_tokens,
        record_use=access.record_use,
        resource_grants=access.resource_grants,
        configuration=pb.GetAccessConfigurationResponse(issuer="https://tidemill.test", client_id="cli"),
    )
    server = DirectServer(
        settings(), [(add_AccessServiceServicer_to_server, servicer)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    address, names = f"127.0.0.1:{server.port}", ("acme", "globex")
    channels = [admin_channel(address, project=name) for name in names]
    channels += [open_channel(address, credential=partial(installation().token, name, "admin")) for name in names]
    acme, globex, of_acme, of_globex = map(AccessServiceStub, channels)
    for stub, name in ((acme, "acme"), (globex, "globex")):
        project = access_pb.Project(id=name)
        await stub.CreateProject(pb.CreateProjectRequest(project=project, admin="user:ada"))
    yield ApiClient(access=access, acme=acme, globex=globex, of_acme=of_acme, of_globex=of_globex)
    for channel in channels:
        await channel.close()
    await server.stop(1.0)


async def with_key(api: ApiClient) -> pb.CreateApiKeyResponse:
    account = access_pb.ServiceAccount(id="ci", roles=["contributor"], description="tests", labels={"team": "x"})
    await api.acme.CreateServiceAccount(pb.CreateServiceAccountRequest(service_account=account))
    key = access_pb.ApiKey(id="laptop", service_account="ci", scopes=[SEARCH])
    key.expire_time.FromDatetime(NOON + timedelta(days=7))
    return await api.acme.CreateApiKey(pb.CreateApiKeyRequest(api_key=key))


async def test_a_key_is_issued_listed_and_revoked(api: ApiClient) -> None:
    issued = await with_key(api)
    got = (await api.acme.GetApiKey(pb.GetApiKeyRequest(id="laptop"))).api_key
    listed = (await api.acme.ListApiKeys(pb.ListApiKeysRequest(filter='service_account = "ci"'))).api_keys
    revoked = (await api.acme.RevokeApiKey(pb.RevokeApiKeyRequest(id="laptop"))).api_key
    deleted = (await api.acme.DeleteApiKey(pb.DeleteApiKeyRequest(id="laptop"))).api_key

    assert issued.token == api.access.signer.form.format(1)
    assert [got] == list(listed) == [issued.api_key]
    assert (got.project, got.service_account, got.etag) == ("acme", "ci", "1")
    assert (list(got.roles), list(got.scopes)) == (["contributor"], [SEARCH])
    assert got.expire_time.ToDatetime(NOON.tzinfo) == NOON + timedelta(days=7)
    assert got.state == access_pb.API_KEY_STATE_ACTIVE
    assert revoked.state == deleted.state == access_pb.API_KEY_STATE_REVOKED
    assert revoked.revoke_time.ToDatetime(NOON.tzinfo) == NOON


async def test_a_request_with_a_token_prints_without_it(api: ApiClient) -> None:
    fields = [
        pb.CreateApiKeyResponse.DESCRIPTOR.fields_by_name["token"],
        pb.ExchangeTokenRequest.DESCRIPTOR.fields_by_name["subject_token"],
        pb.ExchangeTokenResponse.DESCRIPTOR.fields_by_name["token"],
    ]

    assert all(field.GetOptions().debug_redact for field in fields)
    assert "secret-token" not in repr((await with_key(api)).api_key)


async def test_members_come_through_the_api(api: ApiClient) -> None:
    member = access_pb.Member(subject="group:staff", roles=["viewer", "viewer"])
    created = (await api.acme.CreateMember(pb.CreateMemberRequest(member=member))).member
    changed = access_pb.Member(id=created.id, roles=["operator"], etag=created.etag)
    updated = await api.acme.UpdateMember(
        pb.UpdateMemberRequest(member=changed, update_mask=FieldMask(paths=["roles"]))
    )
    listed = (await api.acme.ListMembers(pb.ListMembersRequest())).members

    assert (created.project, created.subject, list(created.roles)) == ("acme", "group:staff", ["viewer"])
    assert created.etag == "1"
    assert created.create_time.ToDatetime(NOON.tzinfo) == NOON
    assert updated.member in listed
    assert (await api.acme.GetMember(pb.GetMemberRequest(id=created.id))).member == updated.member
    assert (await api.acme.DeleteMember(pb.DeleteMemberRequest(id=created.id))).member == updated.member
    ada = next(each for each in listed if each.subject == "user:ada")
    with pytest.raises(PreconditionFailed) as last:
        await api.acme.DeleteMember(pb.DeleteMemberRequest(id=ada.id))
    assert last.value.reason == "LAST_ADMIN"


async def test_roles_and_accounts_come_through_the_api(api: ApiClient) -> None:
    role = access_pb.Role(id="searcher", permissions=[SEARCH], description="d", labels={"a": "b"})
    created = (await api.acme.CreateRole(pb.CreateRoleRequest(role=role))).role
    mask = FieldMask(paths=["description"])
    updated = await api.acme.UpdateRole(
        pb.UpdateRoleRequest(role=access_pb.Role(id="searcher", description="x"), update_mask=mask)
    )
    account = access_pb.ServiceAccount(id="ci", roles=["searcher"])
    await api.acme.CreateServiceAccount(pb.CreateServiceAccountRequest(service_account=account))
    given = access_pb.ServiceAccount(id="ci", roles=["viewer"])
    lowered = await api.acme.UpdateServiceAccount(
        pb.UpdateServiceAccountRequest(service_account=given, update_mask=FieldMask(paths=["roles"]))
    )

    assert (created.project, list(created.permissions), dict(created.labels)) == ("acme", [SEARCH], {"a": "b"})
    assert (updated.role.description, list(updated.role.permissions)) == ("x", [SEARCH])
    assert list((await api.acme.ListRoles(pb.ListRolesRequest())).roles) == [updated.role]
    assert (lowered.service_account.subject, lowered.service_account.seq) == ("service_account:ci", 1)
    assert len((await api.acme.ListServiceAccounts(pb.ListServiceAccountsRequest())).service_accounts) == 1
    assert (await api.acme.DeleteRole(pb.DeleteRoleRequest(id="searcher"))).role.id == "searcher"


async def test_projects_come_through_the_api(api: ApiClient) -> None:
    given = access_pb.Project(id="acme", display_name="Acme")
    mask = FieldMask(paths=["display_name"])
    updated = (await api.acme.UpdateProject(pb.UpdateProjectRequest(project=given, update_mask=mask))).project

    assert (updated.display_name, updated.state) == ("Acme", access_pb.PROJECT_STATE_ACTIVE)
    assert [each.id for each in (await api.of_acme.ListProjects(pb.ListProjectsRequest())).projects] == ["acme"]
    assert len((await api.acme.ListProjects(pb.ListProjectsRequest())).projects) == 2
    deleted = (await api.acme.DeleteProject(pb.DeleteProjectRequest(id="acme"))).project
    assert deleted.state == access_pb.PROJECT_STATE_DELETING
    assert (await api.acme.WhoAmI(pb.WhoAmIRequest())).project == "acme"


async def test_another_project_gets_not_found_with_the_text_of_an_absent_id(api: ApiClient) -> None:
    await with_key(api)
    role = access_pb.Role(id="searcher", permissions=[SEARCH])
    await api.acme.CreateRole(pb.CreateRoleRequest(role=role))
    (ada,) = (await api.acme.ListMembers(pb.ListMembersRequest())).members
    await api.globex.CreateMember(pb.CreateMemberRequest(member=access_pb.Member(subject="user:eve", roles=["admin"])))
    for resource, foreign in (
        ("Project", "acme"),
        ("Member", ada.id),
        ("ServiceAccount", "ci"),
        ("ApiKey", "laptop"),
        ("Role", "searcher"),
    ):
        texts = set()
        for given in (foreign, "absent"):
            for verb in ("Get",) if resource == "Project" else ("Get", "Delete"):
                request = getattr(pb, f"{verb}{resource}Request")(id=given)
                with pytest.raises(NotFound) as refused:
                    await getattr(api.of_globex, f"{verb}{resource}")(request)
                texts.add((refused.value.message.replace(given, "?"), refused.value.reason))
        assert len(texts) == 1, texts


async def test_a_token_is_exchanged_without_a_project_in_the_metadata(api: ApiClient) -> None:
    api.access.provider.people["id-token"] = Identity(name="ada")

    request = pb.ExchangeTokenRequest(subject_token="id-token", project="acme")  # noqa: S106 - of a fake
    exchanged = await api.acme.ExchangeToken(request)
    configuration = await api.acme.GetAccessConfiguration(pb.GetAccessConfigurationRequest())

    assert (exchanged.subject, list(exchanged.roles)) == ("user:ada", ["admin"])
    assert exchanged.expire_time.ToDatetime(NOON.tzinfo) == NOON + timedelta(hours=1)
    assert (configuration.issuer, configuration.client_id) == ("https://tidemill.test", "cli")


@pytest.mark.parametrize(
    ("rpc", "request_", "field"),
    [
        ("CreateProject", pb.CreateProjectRequest(), "project"),
        ("CreateMember", pb.CreateMemberRequest(), "member"),
        ("CreateApiKey", pb.CreateApiKeyRequest(), "api_key"),
        ("CreateGrant", pb.CreateGrantRequest(), "grant"),
        ("CreateGrant", pb.CreateGrantRequest(grant=access_pb.Grant(resource="x", grantee="y")), "grant.kind"),
        ("ListMembers", pb.ListMembersRequest(filter="x"), "filter"),
        ("ListProjects", pb.ListProjectsRequest(order_by="create_time"), "order_by"),
        ("UpdateMember", pb.UpdateMemberRequest(member=access_pb.Member()), "update_mask"),
        ("UpdateRole", pb.UpdateRoleRequest(role=access_pb.Role()), "update_mask"),
    ],
)
async def test_bad_requests_are_refused_by_field(rpc: str, request_: Message, field: str, api: ApiClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await getattr(api.acme, rpc)(request_)

    assert [each.field for each in refused.value.violations] == [field]


def test_every_rpc_that_changes_something_is_audited_and_names_what_it_changes() -> None:
    service = pb.DESCRIPTOR.services_by_name["AccessService"]
    reads = ("Get", "List", "WhoAmI", "RecordUse")  # the last is a minute's bookkeeping of each service
    for method in service.methods:
        extensions = method.GetOptions().Extensions
        audited = extensions[options_pb2.audit] == options_pb2.AUDIT_CALL
        assert audited is not method.name.startswith(reads), method.name
        assert not audited or extensions[options_pb2.resource], method.name
    roles = {each.name: each.GetOptions().Extensions[options_pb2.required_role] for each in service.methods}
    public = {name for name, role in roles.items() if role == options_pb2.ROLE_PUBLIC}
    assert public == {"ExchangeToken", "GetAccessConfiguration"}
    writes = {role for name, role in roles.items() if not name.startswith(reads) and name not in public}
    assert writes == {options_pb2.ROLE_ADMIN, options_pb2.ROLE_INSTALLATION_ADMIN}


async def test_tokens_of_all_projects_are_revoked_through_the_api(api: ApiClient) -> None:
    token = await api.acme.RevokeToken(pb.RevokeTokenRequest(token_id="the-id"))  # noqa: S106 - an id
    subject = await api.acme.RevokeSubject(pb.RevokeSubjectRequest(subject="service:rag"))

    assert {(each.project, each.id) for each in api.access.revoked} == {("*", "the-id"), ("*", "service:rag")}
    assert token.revoke_time.ToDatetime(NOON.tzinfo) == NOON
    assert subject.revoke_time.ToDatetime(NOON.tzinfo) > NOON


async def test_a_grant_is_given_listed_at_both_ends_and_revoked(api: ApiClient) -> None:
    asked = access_pb.Grant(kind=access_pb.RESOURCE_KIND_PROMPT, resource="support", grantee="globex", description="x")
    given = (await api.acme.CreateGrant(pb.CreateGrantRequest(grant=asked))).grant
    listed = (await api.acme.ListGrants(pb.ListGrantsRequest())).grants
    catalogue = (await api.globex.ListCatalogue(pb.ListCatalogueRequest())).grants
    with pytest.raises(NotFound) as foreign:
        await api.globex.RevokeGrant(pb.RevokeGrantRequest(id=given.id))
    revoked = (await api.acme.RevokeGrant(pb.RevokeGrantRequest(id=given.id))).grant

    assert [*listed] == [*catalogue] == [given]
    assert (given.project, given.kind, given.resource, given.grantee) == ("acme", asked.kind, "support", "globex")
    assert foreign.value.reason == "GRANT_NOT_FOUND"
    assert revoked.id == given.id
    assert [*(await api.globex.ListCatalogue(pb.ListCatalogueRequest())).grants] == []
