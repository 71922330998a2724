"""Installing the SDK brings no library that only servers, or the command line, need."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
LIGHT = set(PYPROJECT["tool"]["tidemill"]["installs"])
IMPORTED = {
    "google",
    "grpc",
    "grpc_status",
    "opentelemetry",
    "tidemill",
    "tidemill_client",
    "tidemill_core",
    "typing_extensions",
}
SCRIPT = f"""
import asyncio, sys

class OnlyLight:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in sys.stdlib_module_names and first not in {IMPORTED!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, OnlyLight())
from tidemill_client import Addresses, Tidemill
from tidemill_client.connection import SERVICES, Connection

async def main():
    connection = Connection("acme", Addresses(services=dict.fromkeys(SERVICES, "127.0.0.1:1")))
    stubs = [name for name, kind in vars(Connection).items() if hasattr(kind, "__set_name__")]
    print(*[type(getattr(connection, stub)).__name__ for stub in stubs])

asyncio.run(main())
"""


def closure(distribution: str) -> set[str]:
    """Return what a distribution needs, directly and through others, without extras."""
    seen, todo = set[str](), [distribution]
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        required = (re.match(r"[A-Za-z0-9._-]+", each) for each in requires(name) or () if "extra ==" not in each)
        todo += [re.sub(r"[-_.]+", "-", match[0]).lower() for match in required if match]
    return seen


def test_the_sdk_needs_only_the_core_the_contracts_and_grpc() -> None:
    assert closure("tidemill") <= LIGHT


def test_the_sdk_with_all_its_stubs_works_without_any_other_library() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own

    assert "DocumentServiceStub" in run.stdout.split()
