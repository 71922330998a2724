"""Subjects, roles and RPCs, as tokens carry their names."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations

VIEWER, CONTRIBUTOR, OPERATOR, ADMIN, INSTALLATION_ADMIN = (
    "viewer",
    "contributor",
    "operator",
    "admin",
    "installation_admin",
)
BUILT_IN = (VIEWER, CONTRIBUTOR, OPERATOR, ADMIN)
"""The roles that a project may give, from the lowest to the highest."""
RESERVED = (*BUILT_IN, INSTALLATION_ADMIN)
ALL_PROJECTS = "*"

USER, GROUP, SERVICE_ACCOUNT, ROLE = "user:", "group:", "service_account:", "role:"
_SUBJECT = re.compile(r"(?:user|group):[!-~]{1,200}")
_SUBJECT_FORM = "user:<name> or group:<name>, with 1 to 200 printable ASCII characters and no spaces in the name"
_QUOTED = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The size limits of requests and tokens."""

    roles: int = 16
    token_roles: int = 64
    token_groups: int = 512
    permissions: int = 64
    scopes: int = 64
    text_length: int = 1000
    """Characters of a display name or description."""


def subject_violations(field: str, subject: str) -> Iterator[Violation]:
    """Yield what is wrong with the subject of a member."""
    if not _SUBJECT.fullmatch(subject):
        yield Violation(field=field, description=f"is {subject[:_QUOTED]!r}; use {_SUBJECT_FORM}")


def roles_violations(field: str, roles: Sequence[str], *, limit: int) -> Iterator[Violation]:
    """Yield what is wrong with the roles that a member or an account is given, but for whether they exist."""
    if not 1 <= len(roles) <= limit:
        yield Violation(field=field, description=f"has {len(roles)} roles: send 1 to {limit}")
        return
    for role in roles:
        yield from slug_violations(field, role)
        if role == INSTALLATION_ADMIN:
            text = f"has {role}, which no project gives: use one of {', '.join(BUILT_IN)}, or a role of the project"
            yield Violation(field=field, description=text)


def text_violations(field: str, text: str, *, limit: int) -> Iterator[Violation]:
    """Yield what is wrong with a text for people."""
    if len(text) > limit:
        yield Violation(field=field, description=f"has {len(text)} characters, and {limit} is the limit")


def rpc_violations(
    field: str, rpcs: Sequence[str], *, least: int, limit: int, known: Collection[str]
) -> Iterator[Violation]:
    """Yield what is wrong with RPCs that a role allows, or a key is for."""
    if not least <= len(rpcs) <= limit:
        yield Violation(field=field, description=f"has {len(rpcs)} RPCs: send {least} to {limit}")
    for rpc in rpcs[:limit]:
        if rpc not in known:
            text = (
                f"has {rpc[:_QUOTED]!r}, which is no RPC that a project may allow: write it as "
                "tidemill.rag.v1.RetrievalService/Search, or name a right, such as act_for_users"
            )
            yield Violation(field=field, description=text)


def custom(roles: Sequence[str]) -> list[str]:
    """Return those that are no built-in roles."""
    return [role for role in roles if role not in BUILT_IN]


def rank(roles: Collection[str]) -> int:
    """Return the rank of the highest built-in role, 0 without one."""
    return max((RESERVED.index(role) + 1 for role in roles if role in RESERVED), default=0)


def loses(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether a change of roles takes something away."""
    return rank(after) < rank(before) or bool(set(custom(before)) - set(custom(after)))
