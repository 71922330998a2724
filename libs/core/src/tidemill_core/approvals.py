"""Approvals: a policy counts distinct people of a role who did not make what they approve.

The one place that decides whose approval counts, for whatever has an approval policy.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, PermissionDenied, PreconditionFailed, Violation
from tidemill_core.resources import slug_violations
from tidemill_core.rights import manages

OPERATOR = "operator"
MAX_APPROVALS = 10
MAX_AUTHORS = 50
"""Of what is changed by very many people, the last are kept."""
MAX_RATIONALE = 1000
_ADMINS = frozenset({"admin", "installation_admin"})
_PERSON = "user:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's consent, why and when; `approver` is "" for a caller without a name."""

    approver: str
    rationale: str
    approve_time: datetime


class ApproverNotAllowed(PermissionDenied):
    """The caller's approval does not count."""

    reason = "APPROVER_NOT_ALLOWED"

    def __init__(self, *, why: str) -> None:
        super().__init__(f"the approval does not count: {why}")


class ApprovalPolicyLowered(PermissionDenied):
    """Fewer people, or others, would have to agree: admins decide on that."""

    reason = "APPROVAL_POLICY_LOWERED"

    def __init__(self) -> None:
        super().__init__("only an admin may lower an approval policy, give it another role, or delete what has one")


class ApprovalMissing(PreconditionFailed):
    """A version may not serve users before so many more people of a role have approved it."""

    reason = "APPROVAL_MISSING"

    def __init__(self, *, kind: str, version: str, missing: int, role: str) -> None:
        approvals = f"{missing} approval{'' if missing == 1 else 's'}"
        super().__init__(
            f"{kind} {version} lacks {approvals} of the role {role}: have it approved by people who did not make it",
            kind=kind,
            version=version,
            missing=missing,
            role=role,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """How many people of a role have to agree; `role` is `operator`, `admin` or a custom role of the project."""

    count: int = 0
    role: str = OPERATOR

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        yield from slug_violations(f"{path}.role", self.role)
        if not 0 <= self.count <= MAX_APPROVALS:
            yield Violation(f"{path}.count", f"is {self.count}; use 0 (no approval) to {MAX_APPROVALS}")

    def check(self, caller: Caller, authors: Collection[str]) -> None:
        """Let a caller approve what these subjects made.

        Raises:
            ApproverNotAllowed: the caller lacks the role, is no person, or one of the authors.

        """
        if not _has(caller, self.role):
            raise ApproverNotAllowed(why=f"the policy counts the role {self.role}, and the credential has no such role")
        if not caller.subject.startswith(_PERSON):
            raise ApproverNotAllowed(why="the policy counts people: approve with the token of `tidemill login`")
        if caller.subject in authors:
            text = "it was made, or its evaluation started, by the same person: have another one approve"
            raise ApproverNotAllowed(why=text)

    def check_change(self, caller: Caller, to: "ApprovalPolicy") -> None:
        """Let a caller declare another policy.

        Raises:
            InvalidInput: it is out of bounds.
            ApprovalPolicyLowered: fewer approvals or another role, and the caller is no admin.

        """
        if found := list(to.violations("approval")):
            raise InvalidInput.of(*found)
        lowered = to.count < self.count or (self.count > 0 and to.role != self.role)
        if lowered:
            check_may_lower(caller)

    def missing(self, approvals: Sequence[Approval], authors: Collection[str]) -> int:
        """Return how many people still have to agree."""
        return max(0, self.count - len(counted(approvals, authors)))


def check_may_lower(caller: Caller) -> None:
    """Let a caller have fewer people agree, or others.

    Raises:
        ApprovalPolicyLowered: the caller is no admin.

    """
    if _ADMINS.isdisjoint(caller.roles):
        raise ApprovalPolicyLowered


def counted(approvals: Sequence[Approval], authors: Collection[str]) -> tuple[Approval, ...]:
    """Return the approvals that count: of each person the first one, and none of an author."""
    first = dict[str, Approval]()
    for number, each in enumerate(approvals):
        if not each.approver or each.approver not in authors:
            first.setdefault(each.approver or f"#{number}", each)
    return tuple(first.values())


def with_approval(approvals: Sequence[Approval], given: Approval) -> tuple[Approval, ...]:
    """Return the approvals with one more: a name counts once, and no more are kept than any policy asks for."""
    known = given.approver and given.approver in {each.approver for each in approvals}
    return tuple(approvals) if known or len(approvals) >= MAX_APPROVALS else (*approvals, given)


def approval_of(caller: Caller, *, rationale: str, now: datetime) -> Approval:
    """Return a caller's approval.

    Raises:
        InvalidInput: the rationale is too long.

    """
    check_rationale(rationale)
    return Approval(approver=caller.subject, rationale=rationale, approve_time=now)


def check_rationale(rationale: str) -> None:
    """Refuse a rationale of a decision that is too long.

    Raises:
        InvalidInput: names its length and the limit.

    """
    if len(rationale) > MAX_RATIONALE:
        text = f"has {len(rationale)} characters: use at most {MAX_RATIONALE}"
        raise InvalidInput.at(field="rationale", text=text)


def with_author(authors: Sequence[str], subject: str) -> tuple[str, ...]:
    """Return the authors with one more; a subject that is not known, "", is none."""
    return tuple(authors) if not subject or subject in authors else (*authors, subject)


def _has(caller: Caller, role: str) -> bool:
    if role == OPERATOR:
        return manages(caller)
    return role in caller.roles or (role == "admin" and not _ADMINS.isdisjoint(caller.roles))
