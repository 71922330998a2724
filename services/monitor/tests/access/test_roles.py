from dataclasses import replace

import pytest

from services.monitor.tests.access.harness import ADA, ASK, EVE, GENERATE, OWNER, SEARCH, Access, write
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import AlreadyExists, InvalidInput
from tidemill_monitor.access.domain.api_key import ApiKeyState
from tidemill_monitor.access.domain.names import loses
from tidemill_monitor.access.domain.revocations import CredentialKind
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.errors import GivesMoreThanHeld, RoleInUse, RoleNotFound, RoleUnknown

PERMISSIONS = frozenset({"permissions"})


async def ready() -> Access:
    access = Access()
    await access.with_project()
    await access.with_role()
    return access


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (("viewer",), ("admin",), False),
        (("admin", "viewer"), ("admin",), False),
        (("admin",), ("operator", "viewer"), True),
        (("viewer", "asker"), ("admin",), True),
        (("asker",), ("asker", "viewer"), False),
        (("viewer",), (), True),
    ],
)
def test_a_change_of_roles_that_takes_something_away_is_recognized(
    before: tuple[str, ...], after: tuple[str, ...], *, lost: bool
) -> None:
    assert loses(before, after) is lost


async def test_a_role_that_allows_less_revokes_the_tokens_with_it_and_one_that_allows_more_none() -> None:
    access = await ready()
    await access.with_account("asker")
    await access.with_key()
    role = await access.roles.get(ADA, "asker")

    await access.roles.update(ADA, replace(role, permissions=(ASK, GENERATE, SEARCH)), PERMISSIONS, write())
    assert access.revoked == []
    await access.roles.update(ADA, replace(role, permissions=(ASK,)), PERMISSIONS, write())

    (event,) = access.revoked
    assert (event.kind, event.project, event.id) == (CredentialKind.SUBJECT, "acme", "role:asker")
    assert event.expire_time > event.revoke_time + access.lifetimes.keys
    assert (await access.keys.get(ADA, "laptop")).state is ApiKeyState.REVOKED
    assert (await access.with_key("other")).overview.state is ApiKeyState.ACTIVE
    assert access.signer.issued[-1].permissions == (ASK,)
    assert access.signer.issued[-1].issue_time > event.revoke_time


async def test_a_role_that_is_given_is_not_deleted() -> None:
    access = await ready()
    await access.with_member("user:bob", "asker")
    await access.with_account("asker")

    with pytest.raises(RoleInUse, match="user:bob, service_account:ci: take it from them first"):
        await access.roles.delete(ADA, "asker", write())
    await access.service_accounts.delete(ADA, "ci", write())
    bob = next(each for each in (await access.members.list(ADA, PageRequest())).items if each.subject == "user:bob")
    await access.members.delete(ADA, bob.id, write())

    await access.roles.delete(ADA, "asker", write())

    with pytest.raises(RoleUnknown):
        await access.with_member("user:bob", "asker")
    assert "role:asker" in [each.id for each in access.revoked]


async def test_a_deletion_that_is_repeated_when_a_role_of_that_id_is_given_again_deletes_nothing() -> None:
    access = await ready()
    await access.roles.delete(ADA, "asker", write("d1"))
    await access.roles.create(ADA, Role(id="asker", project="acme", permissions=(ASK,)), write())
    await access.with_member("user:bob", "asker")

    await access.roles.delete(ADA, "asker", write("d1"))

    assert (await access.roles.get(ADA, "asker")).permissions == (ASK,)


async def test_bad_fields_of_a_role_are_named_with_value_and_limit() -> None:
    access = await ready()
    unknown = "tidemill.monitor.v1.AccessService/CreateProject"

    with pytest.raises(InvalidInput) as refused:
        await access.with_role(unknown, name="admin")

    fields = {each.field: each.description for each in refused.value.violations}
    assert fields["role.id"] == "is 'admin', a built-in role: choose another name"
    assert unknown in fields["role.permissions"]
    with pytest.raises(InvalidInput, match=r"role\.permissions: has 0 RPCs: send 1 to 64"):
        await access.roles.create(ADA, Role(id="none", project="acme"), write())
    with pytest.raises(AlreadyExists):
        await access.with_role()


async def test_no_caller_gives_more_than_it_holds() -> None:
    access = await ready()
    await access.with_account("operator")
    clerk = Caller(project="acme", subject="user:bob", roles=frozenset({"viewer"}), permissions=frozenset({ASK}))
    scoped = replace(ADA, scopes=frozenset({ASK}))

    for caller, roles in ((clerk, "operator"), (clerk, "asker"), (scoped, "viewer")):
        for given in (
            access.with_member("user:cleo", roles, caller=caller),
            access.with_account(roles, name="x", caller=caller),
        ):
            with pytest.raises(GivesMoreThanHeld):
                await given
        with pytest.raises(GivesMoreThanHeld):
            await access.with_key(caller=caller)
        with pytest.raises(GivesMoreThanHeld):
            await access.with_role(GENERATE, name="more", caller=caller)
        asker = Role(id="asker", project="acme", permissions=(ASK, GENERATE, SEARCH))
        with pytest.raises(GivesMoreThanHeld):
            await access.roles.update(caller, asker, PERMISSIONS, write())

    assert (await access.with_member("user:cleo", "viewer", caller=clerk)).roles == ("viewer",)
    assert (await access.with_role(ASK, name="same", caller=clerk)).permissions == (ASK,)
    assert (await access.with_member("user:dan", "admin", caller=replace(OWNER, subject="user:root"))).roles
    with pytest.raises(GivesMoreThanHeld):
        await access.with_key(caller=Caller(project="acme"))


async def test_a_change_of_a_role_that_gives_nothing_needs_no_rights_to_give() -> None:
    access = await ready()
    described = Role(id="asker", project="acme", description="asks", permissions=(ASK, GENERATE, SEARCH))

    scoped = replace(ADA, scopes=frozenset({ASK}))
    updated = await access.roles.update(scoped, described, frozenset({"description"}), write())

    assert (updated.description, SEARCH in updated.permissions) == ("asks", False)


async def test_roles_of_projects_are_apart() -> None:
    access = await ready()
    await access.with_project(EVE)
    role = await access.roles.get(ADA, "asker")

    for refused in (
        access.roles.get(EVE, "asker"),
        access.roles.update(EVE, role, PERMISSIONS, write()),
        access.roles.delete(EVE, "asker", write()),
    ):
        with pytest.raises(RoleNotFound, match="there is no role 'asker' in this project"):
            await refused
    with pytest.raises(RoleUnknown):
        await access.with_account("asker", caller=EVE)
    assert not (await access.roles.list(EVE, PageRequest())).items
