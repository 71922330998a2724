"""What RPCs declare about themselves in the contract, read by descriptor."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor

from tidemill.options.v1 import options_pb2
from tidemill_kit.access.holds import Scope
from tidemill_kit.access.policy import PUBLIC, Policy
from tidemill_kit.grpc.resources import resource_of

_SCOPES = {
    options_pb2.ERASED_SUBJECT_END_USER: Scope.END_USER,
    options_pb2.ERASED_SUBJECT_DOCUMENT: Scope.DOCUMENT,
}


class UndeclaredRpcs(ValueError):
    """Some RPCs say neither who may call them nor whether that is recorded."""

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(
            "these RPCs declare no (tidemill.options.v1.required_role) or no (tidemill.options.v1.audit) "
            f"in their proto, so they are not served: {', '.join(methods)}"
        )
        self.methods = tuple(methods)


def policies_of(services: Sequence[str]) -> dict[str, Policy]:
    """Read what the RPCs of these services declare, by full method name.

    Raises:
        UndeclaredRpcs: some say neither who may call them nor whether that is recorded.

    """
    declared = {name: policy for service in services for name, policy in _declared(service).items()}
    undeclared = [
        name
        for name, policy in declared.items()
        if policy.required_role == options_pb2.ROLE_UNSPECIFIED or policy.audit == options_pb2.AUDIT_UNSPECIFIED
    ]
    if undeclared:
        raise UndeclaredRpcs(undeclared)
    return declared


def public_policies(services: Sequence[str]) -> dict[str, Policy]:
    """Return the policies of services of gRPC itself, which declare none: any caller may call them."""
    pool = descriptor_pool.Default()
    found = map(pool.FindServiceByName, services)
    return {f"/{service.full_name}/{method.name}": PUBLIC for service in found for method in service.methods}


def policy_of(file: FileDescriptor, method: str) -> Policy:
    """Return what one RPC (`Service/Method`) of a file declares, for a route that stands for it.

    Raises:
        KeyError: there is none.
        UndeclaredRpcs: it declares nothing.

    """
    service, _, name = method.partition("/")
    return policies_of([file.services_by_name[service].full_name])[f"/{file.package}.{service}/{name}"]


@cache
def _declared(service: str) -> Mapping[str, Policy]:
    methods = descriptor_pool.Default().FindServiceByName(service).methods
    return {f"/{service}/{method.name}": _policy(method) for method in methods}


def _policy(method: MethodDescriptor) -> Policy:
    options = method.GetOptions()
    return Policy(
        required_role=options.Extensions[options_pb2.required_role],
        audit=options.Extensions[options_pb2.audit],
        method=f"{method.containing_service.full_name}/{method.name}",
        callers=frozenset(options.Extensions[options_pb2.callers]),
        request=method.input_type,
        erased=_erased(method.input_type) if options.Extensions[options_pb2.erases] else None,
        resource=resource_of(method.input_type, options.Extensions[options_pb2.resource]),
    )


def _erased(request: Descriptor) -> Callable[[Any], Mapping[Scope, str]]:
    """Return what reads from a request whose data it erases."""
    fields = {field.name: field.GetOptions().Extensions[options_pb2.erased] for field in request.fields}
    scopes = {name: _SCOPES[subject] for name, subject in fields.items() if subject in _SCOPES}
    return lambda message: {scope: getattr(message, name) for name, scope in scopes.items()}
