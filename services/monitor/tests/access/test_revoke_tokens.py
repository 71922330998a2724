"""Tokens that no project lists are revoked for all projects."""

from datetime import timedelta

import pytest

from services.monitor.tests.access.harness import OWNER, Access, write
from tidemill_core.errors import InvalidInput
from tidemill_monitor.access.domain.revocations import CredentialKind
from tidemill_monitor.access.domain.tokens import Identity

YEAR = timedelta(days=365)


async def test_one_token_is_revoked_by_its_id_for_longer_than_any_token_lasts() -> None:
    access = Access()

    revoked_at = await access.revoke_tokens.token(OWNER, "the-id", write())

    (event,) = access.revoked
    assert (event.kind, event.project, event.id) == (CredentialKind.KEY, "*", "the-id")
    assert event.record_key == "key/*/the-id"
    assert event.expire_time > event.revoke_time + YEAR
    assert revoked_at == access.clock.now()


@pytest.mark.parametrize("subject", ["user:ada", "group:platform", "service:inference"])
async def test_all_tokens_of_a_subject_are_revoked_that_were_issued_so_far(subject: str) -> None:
    access = Access()

    until = await access.revoke_tokens.subject(OWNER, subject, write())

    (event,) = access.revoked
    assert (event.kind, event.project, event.id) == (CredentialKind.SUBJECT, "*", subject)
    assert event.revoke_time == until > access.clock.now()


async def test_a_second_revocation_is_one_more_record_and_a_repeated_request_none() -> None:
    access = Access()
    await access.revoke_tokens.subject(OWNER, "user:ada", write("r1"))

    await access.revoke_tokens.subject(OWNER, "user:ada", write("r1"))
    await access.revoke_tokens.token(OWNER, "the-id", write())
    await access.revoke_tokens.subject(OWNER, "user:bob", write(validate_only=True))

    assert [each.id for each in access.revoked] == ["user:ada", "the-id"]


async def test_names_are_remembered_only_while_new_tokens_are_dated_after_their_revocation() -> None:
    access = Access()
    await access.revoke_tokens.subject(OWNER, "user:ada", write())
    access.clock.advance(timedelta(hours=2))

    await access.revoke_tokens.subject(OWNER, "user:bob", write())

    (installation,) = access.installation_store.all()
    assert [*installation.revoked] == ["user:bob"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 201, "\n"])
async def test_what_is_no_id_of_a_token_is_refused(given: str) -> None:
    access = Access()

    with pytest.raises(InvalidInput, match="token_id"):
        await access.revoke_tokens.token(OWNER, given, write())


@pytest.mark.parametrize("given", ["", "ada", "service_account:ci", "role:viewer", "service:A", "user:"])
async def test_what_is_no_subject_of_all_projects_is_refused(given: str) -> None:
    access = Access()

    with pytest.raises(InvalidInput, match="subject"):
        await access.revoke_tokens.subject(OWNER, given, write())
    assert access.revoked == []


@pytest.mark.parametrize(("project", "name"), [("*", "user:root"), ("acme", "user:root"), ("*", "group:platform")])
async def test_a_login_after_a_revocation_gets_a_token_that_counts(project: str, name: str) -> None:
    access = Access()
    await access.with_project()
    await access.with_member("user:root")
    access.provider.people["token"] = Identity(name="root", groups=("platform",))
    until = await access.revoke_tokens.subject(OWNER, name, write())

    await access.exchange("token", project)

    (claims,) = access.signer.issued
    assert claims.issue_time > until


async def test_the_token_of_an_admin_by_a_group_carries_the_group_so_that_it_can_be_revoked() -> None:
    access = Access()
    access.provider.people["token"] = Identity(name="bob", groups=("platform", "staff"))

    await access.exchange("token", "*")

    assert access.signer.issued[0].groups == ("platform",)
