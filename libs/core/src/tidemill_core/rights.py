"""What a caller may say about others: rights that stand beside RPCs in a role's permissions and a credential's scopes.

A service has all of them: it repeats what those said that it calls for. So has a publisher of records.
"""

from collections.abc import Iterable, Sequence

from tidemill_core.application import Caller
from tidemill_core.errors import PermissionDenied

ACT_FOR_USERS = "act_for_users"
"""Name the end user and the principals that a question is asked for: the right of a product's backend."""
REVIEW_FEEDBACK = "review_feedback"
"""Give feedback that counts on answers to others, as their reviewer."""
RIGHTS = frozenset({ACT_FOR_USERS, REVIEW_FEEDBACK})

MANAGERS = frozenset({"operator", "admin", "installation_admin"})
"""The roles that have every right, and read every document of their project."""


class SpeaksForAnother(PermissionDenied):
    """A caller names people or groups that its credential does not give it."""

    reason = "RIGHT_REQUIRED"

    def __init__(self, *, field: str, right: str, instead: str) -> None:
        super().__init__(
            f"{field}: names another than the credential: {instead}, or use a key with the right {right} "
            f"(a role with --allow {right}, or operator)",
            field=field,
            right=right,
        )


def manages(caller: Caller) -> bool:
    """Return whether the caller is an operator or more, or a service."""
    return bool(caller.via) or not MANAGERS.isdisjoint(caller.roles)


def has_right(caller: Caller, right: str) -> bool:
    """Return whether the caller has one of `RIGHTS`; scopes restrict rights like RPCs."""
    if caller.scopes is not None and not caller.via and right not in caller.scopes:
        return False
    return manages(caller) or right in caller.permissions


def principals(caller: Caller) -> tuple[str, ...]:
    """Return what documents name as readers: the subject of the credential, and its groups."""
    return tuple(sorted({f"group:{group}" for group in caller.groups} | {caller.subject}))


def principals_of(caller: Caller, named: Sequence[str], *, field: str, may_name_others: bool = True) -> tuple[str, ...]:
    """Return the principals that a call is made with: the named ones, without any those of the credential.

    Services name exactly those that were named to them; none finds what everyone may read.

    Raises:
        SpeaksForAnother: the caller names others, and has not the right to.

    """
    if caller.via:
        return tuple(named)
    own = principals(caller)
    if not (may_name_others and has_right(caller, ACT_FOR_USERS)) and not set(named) <= set(own):
        raise SpeaksForAnother(field=field, right=ACT_FOR_USERS, instead="leave it out for the credential's own groups")
    return tuple(named) or own


def end_user_of(caller: Caller, named: str, *, field: str) -> str:
    """Return the user that a call is made for: the named one, without one the credential's subject.

    A caller that acts for its users names them, and need not.

    Raises:
        SpeaksForAnother: the caller names another, and has not the right to.

    """
    if has_right(caller, ACT_FOR_USERS):
        return named
    if named not in ("", caller.subject):
        raise SpeaksForAnother(field=field, right=ACT_FOR_USERS, instead="leave it out for your own")
    return caller.subject


def may_read(names: Iterable[str], readers: Iterable[str]) -> bool:
    """Return whether principals may read a document: one without readers may be read by the whole project."""
    named = set(readers)
    return not named or not named.isdisjoint(names)
