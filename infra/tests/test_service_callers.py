"""The contract names the services that call an RPC, and no others: a service has no rights but these."""

import re
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


def used() -> set[tuple[str, str]]:
    found = set()
    for path in ROOT.glob("services/*/src/**/*.py"):
        text, service = path.read_text(encoding="utf-8"), path.relative_to(ROOT).parts[1]
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
