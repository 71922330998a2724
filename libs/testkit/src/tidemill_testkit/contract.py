"""Every service of the contract, found by reflection: what no test has to list."""

import importlib
from collections.abc import Callable
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import tidemill
from tidemill_kit.grpc.server import Registration


def all_services() -> list[str]:
    """Return the full names of all services that the contract declares."""
    return sorted(each.full_name for file in _files() for each in file.services_by_name.values())


def all_methods() -> list[MethodDescriptor]:
    """Return every RPC of the contract."""
    pool = descriptor_pool.Default()
    return [method for service in all_services() for method in pool.FindServiceByName(service).methods]


def register_all(handler: Callable[[MethodDescriptor], Callable[..., object]]) -> list[Registration]:
    """Return registrations of all services, with a handler for each RPC."""
    pool, found = descriptor_pool.Default(), list[Registration]()
    for name in all_services():
        service = pool.FindServiceByName(name)
        module = importlib.import_module(service.file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
        handlers = {method.name: handler(method) for method in service.methods}
        servicer = type("Servicer", (), {key: staticmethod(value) for key, value in handlers.items()})()
        found.append((getattr(module, f"add_{service.name}Servicer_to_server"), servicer))
    return found


def _files() -> list[FileDescriptor]:
    return [
        importlib.import_module(".".join(file.relative_to(root.parent).with_suffix("").parts)).DESCRIPTOR
        for root in map(Path, tidemill.__path__)
        for file in sorted(root.rglob("*_pb2.py"))
    ]
