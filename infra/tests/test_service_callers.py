"""The contract names the services that call an RPC, and no others: a service has no rights but these."""

import re
from collections.abc import Iterator
from pathlib import Path

from tidemill.options.v1 import options_pb2
from tidemill_testkit.contract import all_methods

ROOT = Path(__file__).resolve().parents[2]
PATTERN = re.compile(r"\b(\w+Service)Stub\b")


def declared() -> set[tuple[str, str]]:
    return {
        (caller, method.full_name)
        for method in all_methods()
        for caller in method.GetOptions().Extensions[options_pb2.callers]
    }


def sources() -> Iterator[tuple[str, Path]]:
    """Yield modules with the services that run them: what the kit calls, all of them do."""
    services = [path.name for path in ROOT.glob("services/*") if path.is_dir()]
    for service in services:
        for path in (*ROOT.glob(f"services/{service}/src/**/*.py"), *ROOT.glob("libs/kit/src/**/*.py")):
            yield service, path


def used() -> set[tuple[str, str]]:
    found = set()
    for service, path in sources():
        text = path.read_text(encoding="utf-8")
        stubs = set(PATTERN.findall(text))
        found |= {
            (service, method.full_name)
            for method in all_methods()
            if method.containing_service.name in stubs and re.search(rf"\.{method.name}\(", text)
        }
    return found


def test_the_callers_that_rpcs_declare_are_those_that_call_them() -> None:
    assert used()
    assert declared() == used()
