from datetime import timedelta

import pytest

from services.monitor.tests.access.harness import ADA, GENERATE, OWNER, Access, write
from tidemill_core.errors import Unauthenticated
from tidemill_monitor.access.domain.names import Limits
from tidemill_monitor.access.domain.tokens import Identity
from tidemill_monitor.errors import NotAMember, TokenTooLarge

BOB = Identity(name="bob@example.org", groups=("staff", "platform", *(f"g{n}" for n in range(300))))


async def ready() -> Access:
    access = Access()
    await access.with_project()
    access.provider.people["bobs-id-token"] = BOB
    return access


async def test_a_person_gets_the_roles_of_its_own_and_of_its_groups() -> None:
    access = await ready()
    await access.with_role()
    await access.with_member("user:bob@example.org", "viewer", "asker")
    await access.with_member("group:staff", "contributor")

    exchanged = await access.exchange("bobs-id-token", "acme")

    (claims,) = access.signer.issued
    assert exchanged.token == access.signer.form.format(1)
    assert "secret-token" not in repr(exchanged)
    assert (claims.subject, claims.project) == ("user:bob@example.org", "acme")
    assert set(claims.roles) == {"viewer", "asker", "contributor"}
    assert claims.groups == ("staff",), "those that gave roles only"
    assert GENERATE in claims.permissions
    assert claims.expire_time == exchanged.expire_time == access.clock.now() + timedelta(hours=1)


async def test_more_roles_or_groups_than_services_accept_are_refused_when_a_token_is_issued() -> None:
    access = Access(limits=Limits(token_roles=2, token_groups=2), max_members=9)
    await access.with_project()
    access.provider.people["bobs-id-token"] = BOB
    for group in ("g1", "g2"):
        await access.with_member(f"group:{group}", "viewer")
    assert (await access.exchange("bobs-id-token", "acme")).token

    await access.with_member("group:g3", "viewer")
    with pytest.raises(TokenTooLarge, match="3 groups, and 2 is the limit"):
        await access.exchange("bobs-id-token", "acme")
    await access.with_role()
    await access.with_member("user:bob@example.org", "operator", "asker")
    with pytest.raises(TokenTooLarge, match="3 roles, and 2 is the limit"):
        await access.exchange("bobs-id-token", "acme")


async def test_a_project_without_a_role_for_the_person_looks_like_an_absent_one() -> None:
    access = await ready()
    texts = set()

    for project in ("acme", "absent", "acme/acme", "*"):
        if project == "*":
            access.provider.people["bobs-id-token"] = Identity(name="bob@example.org")
        with pytest.raises(NotAMember) as refused:
            await access.exchange("bobs-id-token", project)
        texts.add(refused.value.message.replace(repr(project), "?"))

    assert len(texts) == 1
    assert access.signer.issued == []


async def test_an_installation_admin_gets_all_projects_by_subject_or_group() -> None:
    access = await ready()
    access.provider.people["roots"] = Identity(name="root")

    for token in ("roots", "bobs-id-token"):
        exchanged = await access.exchange(token, "*")
        assert (exchanged.project, exchanged.roles) == ("*", ("installation_admin",))


async def test_a_token_that_the_identity_provider_does_not_know_gives_nothing() -> None:
    access = await ready()

    with pytest.raises(Unauthenticated):
        await access.exchange("forged", "acme")


async def test_after_a_removal_and_a_new_start_tokens_are_dated_behind_the_revocation() -> None:
    access = await ready()
    bob = await access.with_member("user:bob@example.org", "operator")

    await access.members.delete(ADA, bob.id, write())
    with pytest.raises(NotAMember):
        await access.exchange("bobs-id-token", "acme")
    await access.with_member("user:bob@example.org", "viewer")
    await access.exchange("bobs-id-token", "acme")

    (revocation,) = access.revoked
    assert access.signer.issued[-1].issue_time > revocation.revoke_time


async def test_a_deleted_project_gives_no_tokens() -> None:
    access = await ready()
    await access.with_member("user:bob@example.org", "operator")

    await access.projects.delete(OWNER, "acme", write())

    with pytest.raises(NotAMember):
        await access.exchange("bobs-id-token", "acme")
