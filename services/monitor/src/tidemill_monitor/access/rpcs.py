"""The RPCs that there are, by the contract's descriptors."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import tidemill
from tidemill.options.v1 import options_pb2
from tidemill_core.rights import RIGHTS

_GIVEN_BY_PROJECTS = frozenset(
    {options_pb2.ROLE_VIEWER, options_pb2.ROLE_CONTRIBUTOR, options_pb2.ROLE_OPERATOR, options_pb2.ROLE_ADMIN}
)


def allowable_rpcs() -> frozenset[str]:
    """Return what an admin of a project may allow: its RPCs, none of an installation admin, and the named rights."""
    return RIGHTS | frozenset(
        f"{service.full_name}/{method.name}"
        for module in _contracts()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().Extensions[options_pb2.required_role] in _GIVEN_BY_PROJECTS
    )


def _contracts() -> Iterator[ModuleType]:
    for folder in map(Path, tidemill.__path__):  # of namespace packages, which pkgutil does not walk
        for file in sorted(folder.rglob("*_service_pb2.py")):
            yield importlib.import_module(".".join(file.relative_to(folder.parent).with_suffix("").parts))
