"""A caller below an admin changes nothing that holds more than the caller does."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from services.monitor.tests.access.harness import ADA, ASK, GENERATE, SEARCH, Access, write
from tidemill_core.application import Caller
from tidemill_core.errors import Conflict
from tidemill_monitor.access.domain.project import Member
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.errors import ApiKeyNotFound, HoldsMore

CLERK = Caller(
    project="acme", subject="user:clerk", roles=frozenset({"contributor"}), permissions=frozenset({ASK, GENERATE})
)
"""Has a role of RPCs such as UpdateMember; which ones is the edge's to check."""
ROLES = frozenset({"roles"})

Change = Callable[[Access, Caller, str], Awaitable[object]]


async def holding(*roles: str) -> Access:
    """Return a project whose member, service account and key hold these roles."""
    access = Access()
    await access.with_project()
    await access.with_role(ASK, GENERATE, name="asker")
    await access.with_role(ASK, SEARCH, name="searcher")
    await access.with_member("user:holder", *roles)
    await access.with_account(*roles)
    await access.with_key()
    return access


async def member_of(access: Access) -> Member:
    project = await access.project_store.get("acme", "acme")
    return next(each for each in project.members if each.subject == "user:holder")


async def lower_member(access: Access, caller: Caller, request: str) -> object:
    lowered = Member(id=(await member_of(access)).id, subject="", roles=("viewer",))
    return await access.members.update(caller, lowered, write(request))


async def remove_member(access: Access, caller: Caller, request: str) -> object:
    return await access.members.delete(caller, (await member_of(access)).id, write(request))


async def lower_account(access: Access, caller: Caller, request: str) -> object:
    lowered = ServiceAccount(id="ci", project="acme", roles=("viewer",))
    return await access.service_accounts.update(caller, lowered, ROLES, write(request))


async def delete_account(access: Access, caller: Caller, request: str) -> object:
    return await access.service_accounts.delete(caller, "ci", write(request))


async def revoke_key(access: Access, caller: Caller, request: str) -> object:
    return await access.keys.revoke(caller, "laptop", write(request))


async def delete_key(access: Access, caller: Caller, request: str) -> object:
    return await access.keys.delete(caller, "laptop", write(request))


CHANGES = [lower_member, remove_member, lower_account, delete_account, revoke_key, delete_key]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("held", [("admin",), ("operator",), ("viewer", "searcher")])
async def test_who_holds_more_is_not_changed(change: Change, held: tuple[str, ...]) -> None:
    access = await holding(*held)

    with pytest.raises(HoldsMore, match="ask an admin"):
        await change(access, CLERK, "")

    assert access.revoked == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("held", [("contributor",), ("viewer", "asker")])
async def test_who_holds_no_more_is_changed_and_a_repeated_request_changes_nothing(
    change: Change, held: tuple[str, ...]
) -> None:
    access = await holding(*held)

    await change(access, CLERK, "r1")

    revoked = len(access.revoked)
    if change not in (remove_member, lower_member):
        await change(access, CLERK, "r1")
    assert revoked == len(access.revoked) == 1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("caller", [ADA, replace(CLERK, roles=frozenset({"installation_admin"}))])
async def test_an_admin_changes_all_of_them(change: Change, caller: Caller) -> None:
    access = await holding("admin")

    await change(access, caller, "")


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_role_that_allows_more_is_not_taken_from_those_who_have_it(*, deleted: bool) -> None:
    access = await holding("viewer")
    change = (
        access.roles.delete(CLERK, "searcher", write())
        if deleted
        else access.roles.update(
            CLERK, Role(id="searcher", project="acme", permissions=(ASK,)), frozenset({"permissions"}), write()
        )
    )

    with pytest.raises(HoldsMore, match="Search"):
        await change
    assert access.revoked == []


async def test_one_who_is_given_more_after_the_check_is_not_changed() -> None:
    access = await holding("viewer")
    check_holder = access.grants.check_holder

    async def and_meanwhile(_grants: object, caller: Caller, roles: tuple[str, ...]) -> None:
        await check_holder(caller, roles)
        await access.members.update(ADA, replace(await member_of(access), roles=("admin",)), write())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(access.grants), "check_holder", and_meanwhile)
        with pytest.raises(Conflict):
            await remove_member(access, CLERK, "")

    assert (await member_of(access)).roles == ("admin",)


async def test_an_account_that_is_given_more_after_the_check_is_not_changed() -> None:
    access = await holding("viewer")
    check_holder = access.grants.check_holder

    async def and_meanwhile(_grants: object, caller: Caller, roles: tuple[str, ...]) -> None:
        await check_holder(caller, roles)
        higher = ServiceAccount(id="ci", project="acme", roles=("admin",))
        await access.service_accounts.update(ADA, higher, ROLES, write())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(access.grants), "check_holder", and_meanwhile)
        with pytest.raises(Conflict):
            await delete_account(access, CLERK, "")

    assert (await access.service_accounts.get(ADA, "ci")).roles == ("admin",)


async def test_what_was_deleted_is_absent_for_all_alike() -> None:
    access = await holding("admin")
    await access.keys.delete(ADA, "laptop", write())

    with pytest.raises(ApiKeyNotFound):
        await revoke_key(access, CLERK, "")
