"""Who may speak for whom, and read what."""

from dataclasses import replace

import pytest

from tidemill_core.application import Caller
from tidemill_core.rights import (
    ACT_FOR_USERS,
    REVIEW_FEEDBACK,
    SpeaksForAnother,
    end_user_of,
    has_right,
    manages,
    may_read,
    principals,
    principals_of,
)

UNKNOWN = Caller(project="acme")
RECORD = Caller.of_publisher("acme", "https://cms.acme.example")
ADA = Caller(
    project="acme",
    subject="user:ada",
    roles=frozenset({"contributor"}),
    groups=frozenset({"hr", "staff"}),
    credential="jti-1",
)
SHOP = Caller(
    project="acme",
    subject="service_account:shop",
    roles=frozenset({"contributor", "backend"}),
    permissions=frozenset({ACT_FOR_USERS}),
    credential="jti-2",
)
OLIVIA = replace(ADA, subject="user:olivia", roles=frozenset({"operator"}), groups=frozenset())
EVALUATOR = Caller(project="acme", subject="user:ada", via="evaluator", credential="jti-3")


@pytest.mark.parametrize("named", [["group:finance"], ["group:hr", "group:finance"], ["user:bob"], ["hr"], [""]])
def test_a_plain_key_names_no_principals_but_its_own(named: list[str]) -> None:
    with pytest.raises(SpeaksForAnother, match=r"tidemill.principals: .* act_for_users"):
        principals_of(ADA, named, field="tidemill.principals")


def test_a_call_has_the_principals_of_its_credential_or_some_of_them() -> None:
    assert principals_of(ADA, [], field="principals") == ("group:hr", "group:staff", "user:ada")
    assert principals_of(ADA, ["group:hr"], field="principals") == ("group:hr",)


@pytest.mark.parametrize("caller", [SHOP, OLIVIA, EVALUATOR, RECORD])
def test_who_acts_for_users_names_theirs(caller: Caller) -> None:
    assert principals_of(caller, ["group:finance"], field="principals") == ("group:finance",)
    assert end_user_of(caller, "customer-7", field="end_user") == "customer-7"


def test_a_page_names_no_others_whatever_its_key_may() -> None:
    with pytest.raises(SpeaksForAnother):
        principals_of(SHOP, ["group:finance"], field="principals", may_name_others=False)


def test_without_names_a_service_asks_for_everyone_and_others_for_themselves() -> None:
    assert principals_of(EVALUATOR, [], field="principals") == principals_of(RECORD, [], field="principals") == ()
    assert principals_of(SHOP, [], field="principals") == ("service_account:shop",)


def test_a_plain_key_asks_for_its_own_subject_only() -> None:
    assert end_user_of(ADA, "", field="user") == end_user_of(ADA, "user:ada", field="user") == "user:ada"
    with pytest.raises(SpeaksForAnother, match=r"^user: "):
        end_user_of(ADA, "customer-7", field="user")


def test_scopes_restrict_rights_like_rpcs() -> None:
    scoped = replace(SHOP, scopes=frozenset({"tidemill.inference.v1.InferenceService/Generate"}))

    assert not has_right(scoped, ACT_FOR_USERS)
    assert not has_right(replace(OLIVIA, scopes=frozenset()), REVIEW_FEEDBACK)
    assert has_right(replace(SHOP, scopes=frozenset({ACT_FOR_USERS})), ACT_FOR_USERS)
    assert not has_right(SHOP, REVIEW_FEEDBACK)


@pytest.mark.parametrize(
    ("caller", "readers", "may"),
    [
        (ADA, (), True),
        (ADA, ("group:hr",), True),
        (ADA, ("user:ada", "user:bob"), True),
        (ADA, ("group:finance",), False),
        (ADA, ("hr",), False),
        (SHOP, ("group:hr",), False),
        (OLIVIA, ("group:hr",), True),
        (EVALUATOR, ("group:hr",), True),
        (RECORD, ("group:hr",), True),
        (UNKNOWN, ("group:hr",), False),
    ],
)
def test_documents_are_read_by_their_readers_and_by_operators(
    caller: Caller, readers: tuple[str, ...], *, may: bool
) -> None:
    assert (manages(caller) or may_read(principals(caller), readers)) is may
