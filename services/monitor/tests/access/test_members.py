from dataclasses import replace

import pytest

from services.monitor.tests.access.harness import ADA, EVE, Access, write
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import Conflict, InvalidInput, NotFound
from tidemill_core.quotas import QuotaReached
from tidemill_monitor.access.domain.project import Member, Project, member_id_of
from tidemill_monitor.access.domain.revocations import MARGIN, CredentialKind
from tidemill_monitor.errors import LastAdmin, MemberExists, MemberNotFound, RoleUnknown

ADA_ID = member_id_of("acme", "user:ada")


async def test_a_member_is_added_with_roles_once() -> None:
    access = Access()
    await access.with_project()

    first, again = [
        await access.members.create(ADA, Member(subject="user:bob", roles=("viewer",)), write("r1")) for _ in range(2)
    ]

    assert first == again == await access.members.get(ADA, first.id)
    assert (first.subject, first.roles, first.version) == ("user:bob", ("viewer",), 1)
    with pytest.raises(MemberExists, match=f"update member {first.id} instead"):
        await access.with_member("user:bob")


async def test_the_last_admin_is_neither_removed_nor_lowered() -> None:
    access = Access()
    await access.with_project()
    await access.with_member("user:bob", "operator")

    for refused in (
        access.members.delete(ADA, ADA_ID, write()),
        access.members.update(ADA, Member(id=ADA_ID, subject="", roles=("operator",)), write()),
        access.members.delete(ADA, ADA_ID, write(validate_only=True)),
    ):
        with pytest.raises(LastAdmin, match="give another member the role admin first"):
            await refused

    await access.with_member("group:admins", "admin")
    assert (await access.members.delete(ADA, ADA_ID, write())).subject == "user:ada"
    assert [each.id for each in access.revoked] == ["user:ada"]


async def test_of_two_admins_who_remove_each_other_one_stays() -> None:
    access = Access()
    await access.with_project()
    bob = await access.with_member("user:bob", "admin")

    await access.members.delete(ADA, bob.id, write())
    with pytest.raises(LastAdmin):
        await access.members.delete(ADA, ADA_ID, write())


async def test_lowered_roles_revoke_the_tokens_that_were_issued_so_far_and_more_roles_revoke_none() -> None:
    access = Access()
    await access.with_project()
    await access.with_role()
    bob = await access.with_member("user:bob", "operator")

    async def roles(*given: str) -> None:
        await access.members.update(ADA, replace(bob, roles=given), write())

    await roles("admin", "asker")
    assert access.revoked == []
    await roles("admin")
    await roles("admin")
    await roles("viewer")

    own_role_taken, lowered = access.revoked
    assert (own_role_taken.kind, own_role_taken.project, own_role_taken.id) == (
        CredentialKind.SUBJECT,
        "acme",
        "user:bob",
    )
    now = access.clock.now()
    assert lowered.record_key == "subject/acme/user:bob"
    assert lowered.revoke_time == now + MARGIN
    assert lowered.expire_time > lowered.revoke_time + access.lifetimes.tokens


async def test_a_repeated_removal_returns_the_same_member() -> None:
    access = Access()
    await access.with_project()
    bob = await access.with_member("user:bob")

    removed = [await access.members.delete(ADA, bob.id, write("r1")) for _ in range(2)]

    assert removed == [bob, bob]
    with pytest.raises(MemberNotFound):
        await access.members.get(ADA, bob.id)
    assert (await access.with_member("user:bob")).id == bob.id


async def test_a_members_etag_is_its_own() -> None:
    access = Access()
    await access.with_project()
    bob = await access.with_member("user:bob")
    await access.with_member("user:cleo")

    changed = await access.members.update(ADA, replace(bob, roles=("operator",)), write(etag="1"))

    assert changed.version == 2
    with pytest.raises(Conflict):
        await access.members.delete(ADA, bob.id, write(etag="1"))


async def test_bad_members_are_refused_with_field_value_and_limit() -> None:
    access = Access()
    await access.with_project()

    for subject in ("bob", "user:", "user:a b", "service_account:ci", "user:" + "x" * 201, "user:\u00e9"):
        with pytest.raises(InvalidInput) as refused:
            await access.with_member(subject)
        assert [each.field for each in refused.value.violations] == ["member.subject"]
    with pytest.raises(InvalidInput, match=r"member\.roles: has 0 roles: send 1 to 16"):
        await access.members.create(ADA, Member(subject="user:bob", roles=()), write())
    with pytest.raises(InvalidInput, match="installation_admin, which no project gives"):
        await access.with_member("user:bob", "installation_admin")
    with pytest.raises(RoleUnknown, match=r"member\.roles: has 'janitor', and there is no such role"):
        await access.with_member("user:bob", "viewer", "janitor")


async def test_the_number_of_members_is_limited() -> None:
    access = Access()
    await access.with_project()
    for name in ("b", "c"):
        await access.with_member(f"user:{name}")

    with pytest.raises(QuotaReached, match=r"3 members, which is the limit.*MONITOR_MAX_MEMBERS"):
        await access.with_member("user:d")


async def test_members_of_projects_are_apart_and_nothing_says_whether_there_are_any() -> None:
    access = Access()
    await access.with_project(ADA)
    await access.with_project(EVE)
    bob = await access.with_member("user:bob")
    texts = set()

    for member in (bob.id, "absent"):
        for call in (
            access.members.get(EVE, member),
            access.members.update(EVE, Member(id=member, subject="", roles=("viewer",)), write()),
            access.members.delete(EVE, member, write()),
        ):
            with pytest.raises(NotFound) as refused:
                await call
            texts.add((refused.value.message.replace(member, "?"), refused.value.reason))

    assert len(texts) == 1
    assert [each.subject for each in (await access.members.list(EVE, PageRequest())).items] == ["user:eve"]


async def test_members_are_listed_page_by_page() -> None:
    access = Access()
    await access.with_project()
    for name in ("b", "c"):
        await access.with_member(f"user:{name}")

    first = await access.members.list(ADA, PageRequest(size=2))
    second = await access.members.list(ADA, PageRequest(size=2, token=first.next_token))

    assert len(first.items) == 2
    assert second.next_token == ""
    assert {each.subject for page in (first, second) for each in page.items} == {"user:ada", "user:b", "user:c"}
    await access.with_project(EVE)
    with pytest.raises(InvalidInput, match="page_token"):
        await access.members.list(EVE, PageRequest(token=first.next_token))


async def test_a_removal_that_is_repeated_when_nothing_is_known_of_it_any_more_finds_no_member() -> None:
    access = Access()
    await access.with_project()
    bob = await access.with_member("user:bob")
    await access.members.delete(ADA, bob.id, write("d1"))

    def others_were_removed(project: Project) -> None:
        project.removed = ()

    await access.project_store.update("acme", "acme", others_were_removed, request=Request.internal())

    with pytest.raises(MemberNotFound):
        await access.members.delete(ADA, bob.id, write("d1"))
