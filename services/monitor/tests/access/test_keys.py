import hashlib
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson

from services.monitor.tests.access.harness import ADA, EVE, GENERATE, OWNER, SEARCH, Access, write
from tidemill_core.application import PageRequest
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound
from tidemill_core.quotas import QuotaReached
from tidemill_monitor.access.domain.api_key import ApiKeyState, KeyRequest
from tidemill_monitor.access.domain.installation import Installation
from tidemill_monitor.access.domain.revocations import CredentialKind
from tidemill_monitor.access.messages import access_payload
from tidemill_monitor.errors import ProjectNotFound, ServiceAccountNotFound, TokenTooLarge

DAY = timedelta(days=1)


async def ready(*roles: str) -> Access:
    access = Access()
    await access.with_project()
    await access.with_role()
    await access.with_account(*roles)
    return access


async def state_of(access: Access, name: str = "laptop") -> ApiKeyState:
    return (await access.keys.get(ADA, name)).state


async def test_a_key_says_what_its_service_account_may_do() -> None:
    access = await ready("contributor", "asker")

    await access.issue_key(ADA, KeyRequest(id="laptop", service_account="ci", scopes=(SEARCH,)), write())

    (claims,) = access.signer.issued
    assert (claims.subject, claims.project) == ("service_account:ci", "acme")
    assert claims.roles == ("contributor", "asker")
    assert GENERATE in claims.permissions
    assert claims.scopes == (SEARCH,)
    assert claims.issue_time == access.clock.now()
    assert claims.expire_time == access.clock.now() + 90 * DAY


async def test_the_token_is_returned_once_and_stored_nowhere() -> None:
    access = await ready()
    asked = KeyRequest(id="laptop", service_account="ci")

    first, again = [await access.issue_key(ADA, asked, write("r1")) for _ in range(2)]

    assert first.token == access.signer.form.format(1)
    assert again.token == ""
    assert again.overview == first.overview
    stored = [asdict(each) for store in (access.key_store, access.account_store) for each in store.all()]
    shown = [repr(each) for each in (first, first.overview, stored, access.revoked)]
    assert not [text for text in shown if "secret-token" in text]
    assert first.overview.key.digest == hashlib.sha256(first.token.encode()).hexdigest()
    assert first.overview.key.digest not in repr(first)


async def test_validating_a_key_issues_none() -> None:
    access = await ready()

    issued = await access.issue_key(ADA, KeyRequest(id="laptop", service_account="ci"), write(validate_only=True))

    assert issued.token == ""
    assert access.key_store.all() == []


async def test_a_revoked_key_is_announced_once_and_stays_in_lists() -> None:
    access = await ready()
    issued = await access.with_key()

    revoked = [await access.keys.revoke(ADA, "laptop", write()) for _ in range(2)]

    assert {each.state for each in revoked} == {ApiKeyState.REVOKED}
    (event,) = access.revoked
    key = issued.overview.key
    assert (event.kind, event.project, event.id) == (CredentialKind.KEY, "acme", key.credential)
    assert event.record_key == f"key/acme/{key.credential}"
    assert event.expire_time == key.expire_time
    assert [each.state for each in (await access.keys.list(ADA, PageRequest())).items] == [ApiKeyState.REVOKED]


async def test_a_deleted_key_is_revoked_and_its_id_may_be_taken_again() -> None:
    access = await ready()
    first = await access.with_key()

    await access.keys.delete(ADA, "laptop", write())

    assert [each.id for each in access.revoked] == [first.overview.key.credential]
    second = await access.with_key()
    assert second.overview.key.credential != first.overview.key.credential
    assert second.overview.state is ApiKeyState.ACTIVE


async def test_an_expired_key_says_so_and_needs_no_revocation() -> None:
    access = await ready()
    await access.with_key()

    access.clock.advance(91 * DAY)

    assert await state_of(access) is ApiKeyState.EXPIRED
    await access.keys.revoke(ADA, "laptop", write())
    assert access.revoked == []


async def test_a_key_that_services_still_take_after_its_expiry_is_revoked() -> None:
    access = await ready()
    issued = await access.with_key()
    access.clock.advance(90 * DAY + timedelta(seconds=30))

    await access.keys.revoke(ADA, "laptop", write())

    assert [each.id for each in access.revoked] == [issued.overview.key.credential]


async def test_keys_of_an_account_that_loses_roles_are_revoked_and_new_ones_are_not() -> None:
    access = await ready("operator")
    await access.with_key()
    account = await access.service_accounts.get(ADA, "ci")

    higher = replace(account, roles=("admin",))
    await access.service_accounts.update(ADA, higher, frozenset({"roles"}), write())
    assert await state_of(access) is ApiKeyState.ACTIVE
    lower = replace(account, roles=("viewer",))
    await access.service_accounts.update(ADA, lower, frozenset({"roles"}), write())

    (event,) = access.revoked
    assert (event.kind, event.id) == (CredentialKind.SUBJECT, "service_account:ci")
    assert await state_of(access) is ApiKeyState.REVOKED
    assert (await access.with_key("other")).overview.state is ApiKeyState.ACTIVE
    assert access.signer.issued[-1].issue_time > event.revoke_time, "else services would refuse it"


async def test_a_key_that_was_revoked_as_a_token_of_any_project_is_shown_as_revoked() -> None:
    access = await ready()
    credential = (await access.with_key()).overview.key.credential
    await access.with_key("other")

    await access.revoke_tokens.token(OWNER, credential, write())
    (event,) = access.revoked
    _, payload = access_payload(Installation(), event, 1)
    access.revocations.apply(MessageToJson(payload, preserving_proto_field_name=True).encode())

    states = {each.key.id: each.state for each in (await access.keys.list(ADA, PageRequest())).items}
    assert states == {"laptop": ApiKeyState.REVOKED, "other": ApiKeyState.ACTIVE}


async def test_keys_of_a_deleted_account_stay_revoked_when_its_id_is_taken_again() -> None:
    access = await ready()
    await access.with_key()

    await access.service_accounts.delete(ADA, "ci", write())
    assert await state_of(access) is ApiKeyState.REVOKED
    await access.with_account()

    assert await state_of(access) is ApiKeyState.REVOKED
    assert [each.id for each in access.revoked] == ["service_account:ci"]
    with pytest.raises(AlreadyExists):
        await access.with_account()


async def test_keys_of_a_deleted_project_are_revoked_and_none_are_issued() -> None:
    access = await ready()
    await access.with_key()

    await access.projects.delete(OWNER, "acme", write())

    assert await state_of(access) is ApiKeyState.REVOKED
    with pytest.raises(Exception, match="is being deleted"):
        await access.with_key("other")


async def test_bad_fields_of_a_key_are_named_with_value_and_limit() -> None:
    access = await ready()
    asked = KeyRequest(
        id="Not a slug",
        service_account="ci",
        scopes=("Search",) * 65,
        expire_time=access.clock.now() + 366 * DAY,
    )

    with pytest.raises(InvalidInput) as refused:
        await access.issue_key(ADA, asked, write())

    fields = {each.field: each.description for each in refused.value.violations if "65" in each.description}
    others = {each.field: each.description for each in refused.value.violations if "65" not in each.description}
    assert fields["api_key.scopes"] == "has 65 RPCs: send 0 to 64"
    assert "'Search', which is no RPC" in others["api_key.scopes"]
    assert "'Not a slug'" in others["api_key.id"]
    with pytest.raises(InvalidInput, match="between 0:01:00 and 365 days from now"):
        await access.issue_key(ADA, replace(asked, id="a", scopes=()), write())
    with pytest.raises(ServiceAccountNotFound):
        await access.with_key(account="absent")
    assert access.key_store.all() == []


async def test_a_project_that_was_not_created_has_no_accounts_and_no_keys() -> None:
    access = Access()

    for refused in (access.with_account(), access.with_key(), access.with_role()):
        with pytest.raises(ProjectNotFound):
            await refused


async def test_a_token_that_services_would_refuse_is_not_issued() -> None:
    access = await ready()
    access.signer.form = "x" * 8193

    with pytest.raises(TokenTooLarge, match="8193 bytes, and 8192 is the limit"):
        await access.with_key()

    assert access.key_store.all() == []


async def test_the_number_of_keys_is_limited() -> None:
    access = await ready()
    for number in range(3):
        await access.with_key(f"k{number}")

    with pytest.raises(QuotaReached, match="MONITOR_MAX_API_KEYS"):
        await access.with_key("k3")


async def test_keys_and_accounts_of_projects_are_apart_and_nothing_says_whether_there_are_any() -> None:
    access = await ready()
    await access.with_project(EVE)
    await access.with_key()
    account = await access.service_accounts.get(ADA, "ci")

    for name, key in (("ci", "laptop"), ("absent", "absent")):
        texts = set()
        for call in (
            access.service_accounts.get(EVE, name),
            access.service_accounts.update(EVE, replace(account, id=name), frozenset({"labels"}), write()),
            access.service_accounts.delete(EVE, name, write()),
            access.with_key(account=name, caller=EVE),
        ):
            with pytest.raises(NotFound) as refused:
                await call
            texts.add((refused.value.message.replace(name, "?"), refused.value.reason))
        assert texts == {("there is no service account '?' in this project", "SERVICE_ACCOUNT_NOT_FOUND")}
        for of_key in (
            access.keys.get(EVE, key),
            access.keys.revoke(EVE, key, write()),
            access.keys.delete(EVE, key, write()),
        ):
            with pytest.raises(NotFound) as refused:
                await of_key
            texts.add((refused.value.message.replace(key, "?"), refused.value.reason))
        assert len(texts) == 2
    assert not (await access.keys.list(EVE, PageRequest())).items
    assert not (await access.service_accounts.list(EVE, PageRequest())).items
    assert await state_of(access) is ApiKeyState.ACTIVE


PUBLIC = "A" * 43


async def test_a_publisher_s_key_is_issued_for_its_public_key_and_source() -> None:
    access = await ready()
    asked = KeyRequest(id="cms", service_account="ci", public_key=PUBLIC, event_source="https://cms.example/kb")

    issued = await access.issue_key(ADA, asked, write())

    (claims,) = access.signer.issued
    assert (claims.public_key, claims.event_source) == (PUBLIC, "https://cms.example/kb")
    assert (issued.overview.key.public_key, issued.overview.key.event_source) == (PUBLIC, "https://cms.example/kb")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"public_key": "short"}, "api_key.public_key"),
        ({"public_key": "A" * 42 + "="}, "api_key.public_key"),
        ({"public_key": PUBLIC, "scopes": (SEARCH,)}, "api_key.scopes"),
        ({"event_source": "https://cms.example"}, "api_key.event_source"),
        ({"public_key": PUBLIC, "event_source": "x" * 513}, "api_key.event_source"),
        ({"public_key": PUBLIC, "event_source": "a\nb"}, "api_key.event_source"),
    ],
)
async def test_a_publisher_s_key_that_could_not_be_used_is_refused(changes: dict[str, Any], field: str) -> None:
    access = await ready()

    with pytest.raises(InvalidInput) as refused:
        await access.issue_key(ADA, KeyRequest(id="cms", service_account="ci", **changes), write())

    assert [each.field for each in refused.value.violations] == [field]
