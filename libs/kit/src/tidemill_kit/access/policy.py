"""What an RPC declares about its callers, and the one check of a caller against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor

from tidemill.options.v1 import options_pb2
from tidemill_core.application import Caller
from tidemill_kit.access.errors import RoleRequired, ScopeMissing, ServiceNotAllowed
from tidemill_kit.access.holds import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an RPC declares about itself in the contract."""

    required_role: options_pb2.Role.ValueType
    audit: options_pb2.Audit.ValueType
    method: str = ""
    """`package.Service/Method`, as permissions and scopes name it."""
    callers: frozenset[str] = frozenset()
    """The services that may call it by their own identity."""
    request: Descriptor | None = None
    """The message that it is called with."""
    resource: Callable[[Any], str] | None = None
    """What names, in that message, the resource that it acts on."""

    erased: Callable[[Any], Mapping[Scope, str]] | None = None
    """What that message says is erased, by what a legal hold can be of; None where the RPC erases nothing."""

    @property
    def public(self) -> bool:
        """True for what operators and probes ask: it needs no project. Unless audited, it is logged for debugging."""
        return self.required_role == options_pb2.ROLE_PUBLIC


PUBLIC = Policy(required_role=options_pb2.ROLE_PUBLIC, audit=options_pb2.AUDIT_NONE)

_RANKS = {
    "viewer": options_pb2.ROLE_VIEWER,
    "contributor": options_pb2.ROLE_CONTRIBUTOR,
    "operator": options_pb2.ROLE_OPERATOR,
    "admin": options_pb2.ROLE_ADMIN,
    "installation_admin": options_pb2.ROLE_INSTALLATION_ADMIN,
}
"""Roles include those of a lower rank."""
ROLES = tuple(_RANKS)
INSTALLATION_ADMIN = "installation_admin"


def check(caller: Caller, policy: Policy) -> None:
    """Let the caller pass, who is in the project that the call is for.

    Raises:
        ServiceNotAllowed: a service calls what the contract does not let it call. It has no other rights.
        ScopeMissing: the credential is for other RPCs.
        RoleRequired: neither a role nor a permission covers the RPC.

    """
    if policy.public:
        return
    if caller.scopes is not None and policy.method not in caller.scopes:
        message = f"the credential is not for {policy.method}: its scopes do not name it"
        raise ScopeMissing(message, method=policy.method)
    if caller.via:
        if caller.via not in policy.callers:
            message = f"the service {caller.via} may not call {policy.method}"
            raise ServiceNotAllowed(message, method=policy.method, service=caller.via)
    elif not (_permits(caller, policy) or _ranks(caller.roles, policy.required_role)):
        needed = options_pb2.Role.Name(policy.required_role).removeprefix("ROLE_").lower()
        held = ", ".join(sorted(caller.roles & _RANKS.keys())) or "none"
        message = f"{policy.method} needs the role {needed} in the project; the caller's roles are: {held}"
        raise RoleRequired(message, method=policy.method, required_role=needed, roles=held)


def _permits(caller: Caller, policy: Policy) -> bool:
    """Return whether a permission covers the RPC: projects give them, so they open nothing of the installation's."""
    return policy.method in caller.permissions and policy.required_role != options_pb2.ROLE_INSTALLATION_ADMIN


def _ranks(roles: frozenset[str], required: options_pb2.Role.ValueType) -> bool:
    return required >= options_pb2.ROLE_VIEWER and any(_RANKS.get(role, 0) >= required for role in roles)
