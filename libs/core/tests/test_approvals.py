"""Whose approval counts, for whatever has a policy."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidemill_core.application import Caller
from tidemill_core.approvals import (
    MAX_APPROVALS,
    MAX_RATIONALE,
    Approval,
    ApprovalPolicy,
    ApprovalPolicyLowered,
    ApproverNotAllowed,
    approval_of,
    counted,
    with_approval,
    with_author,
)
from tidemill_core.errors import InvalidInput

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA = Caller(project="acme", subject="user:ada", roles=frozenset({"operator"}), credential="jti-1")


def given(approver: str) -> Approval:
    return Approval(approver=approver, rationale="", approve_time=NOON)


@pytest.mark.parametrize(
    ("role", "roles", "counts"),
    [
        ("operator", {"operator"}, True),
        ("operator", {"admin"}, True),
        ("operator", {"contributor", "reviewer"}, False),
        ("admin", {"installation_admin"}, True),
        ("admin", {"operator"}, False),
        ("reviewer", {"viewer", "reviewer"}, True),
        ("reviewer", {"admin"}, False),
    ],
)
def test_a_policy_counts_the_people_of_its_role(role: str, roles: set[str], counts: bool) -> None:  # noqa: FBT001
    policy, caller = ApprovalPolicy(count=1, role=role), replace(ADA, roles=frozenset(roles))
    if counts:
        policy.check(caller, ())
        return
    with pytest.raises(ApproverNotAllowed, match=f"the role {role}"):
        policy.check(caller, ())


def test_programs_and_authors_do_not_approve() -> None:
    policy = ApprovalPolicy(count=1)
    with pytest.raises(ApproverNotAllowed, match="counts people"):
        policy.check(replace(ADA, subject="service_account:ci"), ())
    with pytest.raises(ApproverNotAllowed, match="by the same person"):
        policy.check(ADA, {"user:bob", "user:ada"})


def test_a_person_counts_once_and_an_author_never() -> None:
    policy = ApprovalPolicy(count=3)
    approvals = [given(name) for name in ("user:ada", "user:ada", "user:mia", "user:bob")]

    assert [each.approver for each in counted(approvals, {"user:mia"})] == ["user:ada", "user:bob"]
    assert policy.missing(approvals, {"user:mia"}) == 1
    assert policy.missing(approvals, ()) == 0


def test_without_a_credential_no_approval_counts_and_there_are_no_authors() -> None:
    unknown = Caller(project="acme", subject="user:ada")

    with pytest.raises(ApproverNotAllowed):
        ApprovalPolicy(count=1).check(unknown, ())
    assert (unknown.proven_subject, ADA.proven_subject) == ("", "user:ada")


def test_an_author_is_named_once_and_an_unknown_one_never() -> None:
    assert with_author(with_author(("user:ada",), "user:bob"), "user:ada") == ("user:ada", "user:bob")
    assert with_author(("user:ada",), "") == ("user:ada",)


def test_an_approval_is_kept_once_and_no_more_than_any_policy_asks_for() -> None:
    kept: tuple[Approval, ...] = ()
    for number in range(MAX_APPROVALS + 2):
        kept = with_approval(with_approval(kept, given(f"user:{number}")), given(f"user:{number}"))

    assert [each.approver for each in kept] == [f"user:{number}" for number in range(MAX_APPROVALS)]
    assert [each.field for each in ApprovalPolicy(count=11, role="A B").violations("p")] == ["p.role", "p.count"]


@pytest.mark.parametrize(
    ("to", "lowered"),
    [
        (ApprovalPolicy(count=2), False),
        (ApprovalPolicy(count=3), False),
        (ApprovalPolicy(count=1), True),
        (ApprovalPolicy(), True),
        (ApprovalPolicy(count=3, role="viewer"), True),
    ],
)
def test_only_an_admin_lowers_a_policy(to: ApprovalPolicy, lowered: bool) -> None:  # noqa: FBT001
    policy = ApprovalPolicy(count=2)
    policy.check_change(replace(ADA, roles=frozenset({"admin"})), to)
    if not lowered:
        policy.check_change(ADA, to)
        return
    with pytest.raises(ApprovalPolicyLowered, match="only an admin"):
        policy.check_change(ADA, to)


def test_a_policy_without_approvals_is_anyones_to_change_within_bounds() -> None:
    ApprovalPolicy().check_change(ADA, ApprovalPolicy(count=1, role="reviewer"))
    with pytest.raises(InvalidInput, match=r"approval\.count: is 11"):
        ApprovalPolicy().check_change(ADA, ApprovalPolicy(count=MAX_APPROVALS + 1))


def test_an_approval_has_a_short_reason() -> None:
    assert approval_of(ADA, rationale="fine", now=NOON) == replace(given("user:ada"), rationale="fine")
    with pytest.raises(InvalidInput, match="rationale"):
        approval_of(ADA, rationale="x" * (MAX_RATIONALE + 1), now=NOON)
