"""The credential of a call, and what the call says beside it, from gRPC metadata or HTTP headers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidemill_core.grpc.context import AUTHORIZATION, ON_BEHALF_OF, PROJECT
from tidemill_kit.access.errors import CredentialInvalid, CredentialMissing
from tidemill_kit.access.tokens import MAX_TOKEN

_BEARER = re.compile(r"[Bb]earer ([A-Za-z0-9_.-]+)")

Sent = Callable[[str], Sequence[str]]
"""Returns every value of a key or header that the caller sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a caller sent; nothing of it is checked yet."""

    token: str = field(repr=False)
    project: str = ""
    """The project that the call names, if it does."""
    on_behalf_of: str = ""
    """Whom a service calls for."""
    address: str = ""
    """Where the call comes from, as far as is known."""

    @classmethod
    def sent(cls, sent: Sent, *, project: str | None = None, address: str = "") -> "Credentials":
        """Return what was sent; `project` where the transport names it in a way of its own.

        Raises:
            CredentialMissing: none was sent.
            CredentialInvalid: two were, or it is no bearer token; or project or subject are sent twice.

        """
        tokens, projects, subjects = sent(AUTHORIZATION), sent(PROJECT), sent(ON_BEHALF_OF)
        if not tokens:
            raise CredentialMissing
        bearer = _BEARER.fullmatch(tokens[0]) if len(tokens[0]) <= MAX_TOKEN + len("Bearer ") else None
        if bearer is None or len(tokens) > 1 or len(projects) > 1 or len(subjects) > 1:
            raise CredentialInvalid
        named = next(iter(projects), "") if project is None else project
        return cls(token=bearer[1], project=named, on_behalf_of=next(iter(subjects), ""), address=address)
