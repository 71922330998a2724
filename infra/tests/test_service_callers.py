"""The contract names the services that call an RPC, and no others: a service has no rights but these."""

import re
from collections.abc import Iterator
from pathlib import Path

from tidemill.options.v1 import options_pb2
from tidemill_testkit.contract import all_methods

ROOT = Path(__file__).resolve().parents[2]
STUB = re.compile(r"\b(\w+Service)Stub\b")
CALL = re.compile(r"\.(\w+)[(,]")
"""Of a method, or of one that is handed on to what reads pages."""


def declared() -> set[tuple[str, str]]:
    return {
        (caller, method.full_name)
        for method in all_methods()
        for caller in method.GetOptions().Extensions[options_pb2.callers]
    }


def called_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the gRPC services and the methods that a module below a folder may call."""
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for stub in set(STUB.findall(text)):
            yield from ((stub, method) for method in set(CALL.findall(text)))


def used() -> set[tuple[str, str]]:
    """Return the callers of each RPC: what the kit calls, all services do."""
    names = {(method.containing_service.name, method.name): method.full_name for method in all_methods()}
    of_all = set(called_in(ROOT / "libs/kit/src"))
    return {
        (service.name, names[call])
        for service in ROOT.glob("services/*")
        for call in of_all.union(called_in(service / "src"))
        if call in names
    }


def test_the_callers_that_rpcs_declare_are_those_that_call_them() -> None:
    assert used()
    assert declared() == used()
