"""Who calls, for which project; and for how long that is believed."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key

from libs.kit.tests.access.support import Checked, revocation
from tidemill_core.errors import DependencyUnavailable, TidemillError, Unauthenticated
from tidemill_kit.access import authenticator
from tidemill_kit.access import tokens as tokens_module
from tidemill_kit.access.errors import (
    CredentialExpired,
    CredentialInvalid,
    CredentialRevoked,
    KeysUnavailable,
    OnBehalfNotAllowed,
    ProjectDeleted,
    ProjectNotAllowed,
)
from tidemill_testkit.access import TestIssuer

PERSON = "user:ada@example.org"


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


@pytest.fixture
def check(issuer: TestIssuer) -> Checked:
    return Checked(issuer)


async def test_a_credential_says_who_calls_and_for_which_project(issuer: TestIssuer, check: Checked) -> None:
    claims = issuer.claims("acme", "viewer", "operator", subject=PERSON, groups=frozenset({"legal"}))
    caller = (await check(issuer.token("acme", "viewer", subject=PERSON, groups=claims.groups, id=claims.id))).caller

    assert (caller.project, caller.subject, caller.via, caller.credential) == ("acme", PERSON, "", claims.id)
    assert (sorted(caller.roles), sorted(caller.groups), caller.scopes) == (["viewer"], ["legal"], None)


@pytest.mark.parametrize(
    ("token_for", "named", "project"),
    [("acme", "", "acme"), ("acme", "acme", "acme"), ("*", "acme", "acme")],
)
async def test_the_project_is_that_of_the_credential(
    issuer: TestIssuer, check: Checked, token_for: str, named: str, project: str
) -> None:
    token = issuer.token(token_for, "installation_admin")
    assert (await check(token, named)).caller.project == project


@pytest.mark.parametrize("named", ["globex", "ACME", "../acme", "*", "acme "])
async def test_another_project_is_refused_whether_there_is_one_or_not(
    issuer: TestIssuer, check: Checked, named: str
) -> None:
    with pytest.raises(ProjectNotAllowed) as refused:
        await check(issuer.token("acme", "admin"), named)
    assert named not in refused.value.message


@pytest.mark.parametrize("named", ["", "*", "../acme", "ACME"])
async def test_a_credential_for_every_project_needs_a_project_s_name(
    issuer: TestIssuer, check: Checked, named: str
) -> None:
    with pytest.raises(Unauthenticated):
        await check(issuer.service_token("inference"), named)


async def test_a_service_calls_on_behalf_of_a_person(issuer: TestIssuer, check: Checked) -> None:
    alone = (await check(issuer.service_token("inference"), "acme")).caller
    behalf = (await check(issuer.service_token("inference"), "acme", PERSON)).caller

    assert (alone.subject, alone.via) == ("service:inference", "inference")
    assert (behalf.subject, behalf.via, behalf.project) == (PERSON, "inference", "acme")


@pytest.mark.parametrize("subject", ["service:rag", "ada", "user:", "user:a\nb", "user:" + "a" * 500])
async def test_only_a_service_calls_for_others_and_it_only_for_people(
    issuer: TestIssuer, check: Checked, subject: str
) -> None:
    with pytest.raises(OnBehalfNotAllowed):
        await check(issuer.token("acme", "admin"), "acme", PERSON)
    with pytest.raises(OnBehalfNotAllowed):
        await check(issuer.service_token("inference"), "acme", subject)


async def test_a_token_of_an_unknown_issuer_is_refused(issuer: TestIssuer, check: Checked, tmp_path: Path) -> None:
    with pytest.raises(CredentialInvalid):
        await check(TestIssuer(tmp_path, issuer="https://evil.example").token())
    same_name = TestIssuer(tmp_path, issuer=issuer.issuer)
    with pytest.raises(CredentialInvalid):
        await check(same_name.token())


async def test_the_second_issuer_names_no_services_and_no_key_of_another_issuer_counts(tmp_path: Path) -> None:
    ours, theirs = TestIssuer(tmp_path), TestIssuer(tmp_path, issuer="https://idp.example")
    check = Checked(ours, theirs)

    assert (await check(theirs.token("acme", "viewer"))).caller.project == "acme"
    with pytest.raises(CredentialInvalid):
        await check(theirs.service_token("inference"), "acme")
    theirs.issuer = ours.issuer  # signs as if it were ours
    with pytest.raises(CredentialInvalid):
        await check(theirs.token("acme", "admin"))


async def test_tokens_of_another_issuer_last_no_longer_than_revocations_are_kept(tmp_path: Path) -> None:
    ours, theirs = TestIssuer(tmp_path), TestIssuer(tmp_path, issuer="https://idp.example")
    check = Checked(ours, theirs, max_lifetime_s=7200)
    now = check.clock.now()

    await check(theirs.token("acme", "viewer", issue_time=now, expire_time=now + 7200))
    await check(ours.token("acme", "viewer", issue_time=now, expire_time=now + 7300))
    with pytest.raises(CredentialInvalid):
        await check(theirs.token("acme", "viewer", issue_time=now, expire_time=now + 7300))


@pytest.mark.parametrize("ahead_s", [0, 25])
async def test_a_token_of_another_issuer_escapes_no_revocation_by_a_clock_that_is_ahead(
    tmp_path: Path, ahead_s: float
) -> None:
    ours, theirs = TestIssuer(tmp_path), TestIssuer(tmp_path, issuer="https://idp.example")
    check, subject = Checked(ours, theirs), PERSON
    token = theirs.token("acme", "viewer", subject=subject, issue_time=check.clock.now() + ahead_s)
    await check(token)

    check.revocations.apply(revocation("SUBJECT", "acme", subject))

    with pytest.raises(CredentialRevoked):
        await check(token)


async def test_a_verified_token_expires_all_the_same(issuer: TestIssuer, check: Checked) -> None:
    token = issuer.token("acme", expire_time=check.clock.now() + 20)
    await check(token)
    check.clock.moved += 51
    with pytest.raises(CredentialExpired):
        await check(token)


async def test_a_token_is_verified_once_a_minute_and_a_bounded_number_is_known(
    issuer: TestIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "MAX_CACHED", 3)
    check = Checked(issuer)
    verified = 0
    read = tokens_module.Token.verified

    def counted(token: tokens_module.Token, key: Key, **how: Any) -> tokens_module.Claims:  # noqa: ANN401 - as it is
        nonlocal verified
        verified += 1
        return read(token, key, **how)

    monkeypatch.setattr(tokens_module.Token, "verified", counted)
    tokens = [issuer.token() for _ in range(5)]

    for token in [*tokens, tokens[-1]]:
        await check(token)
    check.clock.moved += 61
    await check(tokens[-1])

    assert verified == len(tokens) + 1
    assert len(check.authenticator._verified) == 3  # noqa: SLF001 - a bound on memory is not seen otherwise


async def test_rotated_keys_are_found_and_old_ones_count_until_they_are_taken_away(
    issuer: TestIssuer, check: Checked
) -> None:
    old = issuer.token("acme", "viewer")
    await check(old)
    issuer.rotate()
    check.clock.moved += 11

    await check(issuer.token("acme", "viewer"))
    await check(old)
    issuer.rotate(keep_old=False)
    check.clock.moved += 11
    await check(issuer.token("acme", "viewer"))
    with pytest.raises(CredentialInvalid):
        await check(old)


async def test_unknown_keys_have_the_set_read_at_most_once_in_ten_seconds(issuer: TestIssuer, check: Checked) -> None:
    await check(issuer.token())
    for _ in range(5):
        with pytest.raises(CredentialInvalid):
            await check(issuer.odd(header={"kid": "unknown"}))
    check.clock.moved += 11
    await asyncio.gather(
        *(check(issuer.odd(header={"kid": f"unknown-{n}"})) for n in range(20)), return_exceptions=True
    )
    assert check.served[0].reads == 2


async def test_keys_hold_while_the_issuer_is_down_and_then_nothing_is_answered(issuer: TestIssuer) -> None:
    check = Checked(issuer, hold_s=1000)
    token, later = issuer.token("acme", "viewer"), issuer.token("acme", "viewer", expire_time=2e9)
    await check(token)
    await check(later)
    check.served[0].down = True
    issuer.rotate()
    check.clock.moved += 900

    await check(later)
    with pytest.raises(KeysUnavailable):  # by a key that it may have published meanwhile
        await check(issuer.token("acme", "viewer"))
    check.clock.moved += 101
    with pytest.raises(KeysUnavailable):
        await check(later)
    check.served[0].down = False
    check.clock.moved += 11
    await check(later)


async def test_a_verified_token_is_not_taken_by_keys_that_count_no_more(issuer: TestIssuer) -> None:
    check, token = Checked(issuer, hold_s=20), issuer.token("acme", "viewer")
    await check(token)
    check.served[0].down = True
    check.clock.moved += 21
    with pytest.raises(KeysUnavailable):
        await check(token)


async def test_an_issuer_that_never_answered_is_no_reason_to_believe(issuer: TestIssuer, check: Checked) -> None:
    check.served[0].down = True
    with pytest.raises(KeysUnavailable) as refused:
        await check(issuer.token())
    assert isinstance(refused.value, DependencyUnavailable)


@pytest.mark.parametrize(
    ("kind", "project", "identifier", "refused"),
    [
        ("KEY", "acme", "the-key", True),
        ("CREDENTIAL_KIND_KEY", "acme", "the-key", True),
        ("KEY", "acme", "another", False),
        ("KEY", "globex", "the-key", False),
        ("SUBJECT", "acme", PERSON, True),
        ("SUBJECT", "globex", PERSON, False),
        ("SUBJECT", "acme", "user:bob", False),
        ("SUBJECT", "acme", "group:staff", True),
        ("SUBJECT", "globex", "group:staff", False),
        ("SUBJECT", "acme", "role:viewer", True),
        ("SUBJECT", "acme", "role:staff", False),
        ("SUBJECT", "acme", "staff", False),
        ("PROJECT", "acme", "", True),
        ("PROJECT", "globex", "", False),
        ("KEY", "*", "the-key", True),
        ("KEY", "*", "another", False),
        ("SUBJECT", "*", PERSON, True),
        ("SUBJECT", "*", "group:staff", True),
        ("SUBJECT", "*", "user:bob", False),
    ],
)
async def test_a_revocation_counts_at_once_for_what_it_names(  # noqa: PLR0913 - columns
    issuer: TestIssuer, check: Checked, *, kind: str, project: str, identifier: str, refused: bool
) -> None:
    token = issuer.token("acme", "viewer", subject=PERSON, id="the-key", groups=frozenset({"staff"}))
    await check(token)  # verified, and known
    assert check.revocations.apply(revocation(kind, project, identifier))

    error: TidemillError | None = None
    try:
        await check(token)
    except TidemillError as raised:
        error = raised
    assert isinstance(error, CredentialRevoked) == refused
    assert (error is None) != refused


async def test_a_token_for_every_project_is_revoked_as_the_others_are(issuer: TestIssuer, check: Checked) -> None:
    service = issuer.token("*", subject="service:rag", id="of-rag")
    admin = issuer.token("*", "installation_admin", subject="user:root", id="of-root")
    for token in (service, admin):
        await check(token, project="acme")

    check.revocations.apply(revocation("KEY", "*", "of-root"))
    check.revocations.apply(revocation("SUBJECT", "*", "service:rag"))

    for token in (service, admin):
        with pytest.raises(CredentialRevoked):
            await check(token, project="acme")


async def test_what_is_issued_after_a_subject_s_revocation_counts(issuer: TestIssuer, check: Checked) -> None:
    check.revocations.apply(revocation("SUBJECT", "acme", PERSON, at=datetime.now(UTC) - timedelta(seconds=5)))

    await check(issuer.token("acme", "viewer", subject=PERSON))
    with pytest.raises(CredentialRevoked):
        await check(issuer.token("acme", "viewer", subject=PERSON, issue_time=check.clock.now() - 10))


async def test_an_older_record_that_is_read_again_takes_nothing_back(issuer: TestIssuer, check: Checked) -> None:
    now = datetime.now(UTC)
    check.revocations.apply(revocation("SUBJECT", "acme", PERSON, at=now + timedelta(seconds=5)))
    check.revocations.apply(revocation("SUBJECT", "acme", PERSON, at=now - timedelta(hours=1)))
    with pytest.raises(CredentialRevoked):
        await check(issuer.token("acme", "viewer", subject=PERSON))


async def test_of_a_deleted_project_no_token_counts_of_any_issuer_and_however_late(
    issuer: TestIssuer, check: Checked
) -> None:
    ago = datetime.now(UTC) - timedelta(days=400)
    check.revocations.apply(revocation("PROJECT", "acme", at=ago, expire_time=(ago + timedelta(days=1)).isoformat()))
    for number in range(3000):
        check.revocations.apply(revocation("KEY", "acme", f"key-{number % 9}"))
    with pytest.raises(CredentialRevoked):
        await check(issuer.token("acme", "viewer", subject=PERSON))


async def test_only_the_service_of_erasures_opens_a_deleted_project_to_admins_of_the_installation(
    issuer: TestIssuer, check: Checked
) -> None:
    erasures = Checked(issuer, opens_deleted=True)
    for each in (check, erasures):
        each.revocations.apply(revocation("PROJECT", "acme"))
    admin = issuer.token("*", "installation_admin", subject="user:root")

    with pytest.raises(ProjectDeleted):
        await check(admin, "acme")
    await check(admin, "globex")
    await check(issuer.service_token("rag"), "acme")  # which ends what still runs
    with pytest.raises(ProjectDeleted):
        await check(issuer.service_token("rag"), "acme", "user:ada")
    assert (await erasures(admin, "acme")).caller.project == "acme"
    with pytest.raises(CredentialRevoked):
        await erasures(issuer.token("acme", "admin"))


async def test_a_revoked_token_is_refused_in_the_leeway_after_its_expiry_too(
    issuer: TestIssuer, check: Checked
) -> None:
    ended = time.time() - 10
    token = issuer.token("acme", "viewer", id="leaked", issue_time=ended - 60, expire_time=ended)
    await check(token)
    check.revocations.apply(
        revocation("KEY", "acme", "leaked", expire_time=datetime.fromtimestamp(ended, UTC).isoformat())
    )
    for number in range(3000):
        check.revocations.apply(revocation("KEY", "acme", f"key-{number % 9}"))
    with pytest.raises(CredentialRevoked):
        await check(token)


async def test_nothing_is_answered_before_the_revocations_were_read(issuer: TestIssuer, check: Checked) -> None:
    check.revocations.complete = False
    with pytest.raises(KeysUnavailable):
        await check(issuer.token())


async def test_revocations_count_for_their_hold_time_while_kafka_does_not_answer(
    issuer: TestIssuer, check: Checked
) -> None:
    token, stolen = issuer.token("acme", "viewer"), issuer.token("acme", "viewer", id="stolen")
    check.revocations.hold_s = 600
    check.revocations.apply(revocation("KEY", "acme", "stolen"))
    check.clock.moved += 599
    await check(token)
    with pytest.raises(CredentialRevoked):
        await check(stolen)

    check.clock.moved += 2
    with pytest.raises(KeysUnavailable):
        await check(token)
    check.revocations.contact()
    await check(token)


def test_what_has_expired_by_itself_is_forgotten(check: Checked) -> None:
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for number in range(3000):
        check.revocations.apply(revocation("KEY", "acme", f"key-{number}", expire_time=past))
    check.revocations.apply(revocation("KEY", "acme", "kept"))
    assert check.revocations.count < 2000


@pytest.mark.parametrize("value", [b"", b"{}", b"nothing", b'{"kind": "NONE"}', b"\xff", b'["KEY"]'])
def test_a_record_that_cannot_be_read_is_reported(check: Checked, value: bytes) -> None:
    assert not check.revocations.apply(value)
