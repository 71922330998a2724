"""Services call addresses by HTTP through the kit's checked client only: no other module of theirs imports a client."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = (
    *("aiohttp", "ftplib", "http.client", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub", "openai"),
    *("pycurl", "requests", "smtplib", "socket", "telnetlib", "urllib.request", "urllib3", "websocket", "websockets"),
)
ALLOWED = {
    "libs/kit/src/tidemill_kit/outgoing/client.py": "the client itself",
    "libs/kit/src/tidemill_kit/outgoing/transport.py": "checks each request of it",
    "libs/kit/src/tidemill_kit/outgoing/resolver.py": "asks the system's resolver",
    "libs/kit/src/tidemill_kit/store/objects.py": "the object store's address is the operator's (S3_ENDPOINT)",
    "libs/kit/src/tidemill_kit/http/server.py": "listens; calls nothing",
    "libs/kit/src/tidemill_kit/runtime/telemetry.py": "listens; calls nothing",
    "services/inference/src/tidemill_inference/engines/endpoint.py": "connects to CheckedAddresses only",
    "services/inference/src/tidemill_inference/engines/vllm/process.py": "finds a free port; calls nothing",
    "services/ingest/src/tidemill_ingest/polling/git_repository.py": "connects to CheckedAddresses only",
    "services/trainer/src/tidemill_trainer/weight_files.py": "writes files by its serialization; calls nothing",
}
"""The modules that import one, and why that is safe."""
NAMED = re.compile(rf"""(?:["',]|\b(?:from|import))\s*(?:{"|".join({name.partition(".")[0] for name in CLIENTS})})\b""")
"""What a module that imports one has in its text; few are worth parsing."""
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT / "libs" / "kit" / "src", *ROOT.glob("services/*/src"))
    for path in folder.rglob("*.py")
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, at any depth; `importlib.import_module("x")` and `__import__("x")` count too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def clients_in(source: str) -> set[str]:
    if not NAMED.search(source):
        return set()
    return {
        client
        for name in imported(ast.parse(source))
        for client in CLIENTS
        if name == client or name.startswith(f"{client}.")
    }


def test_no_module_but_those_named_here_imports_a_client() -> None:
    found = {path: clients_in((ROOT / path).read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: clients for path, clients in found.items() if clients and path not in ALLOWED} == {}
    assert {path for path in ALLOWED if not found.get(path)} == set(), "named here, and imports no client"


@pytest.mark.parametrize(
    "source",
    [
        "import httpx2",
        "def f():\n    import requests",
        "from urllib import request",
        "from urllib.request import urlopen",
        "from huggingface_hub.utils import x",
        "import importlib\nimportlib.import_module('aiohttp')",
        "__import__('http.client')",
        "from http import client",
    ],
)
def test_a_client_is_seen_however_it_is_imported(source: str) -> None:
    assert clients_in(source)


@pytest.mark.parametrize(
    "source", ["from urllib.parse import quote", "from http import HTTPStatus", "import socketserver"]
)
def test_what_calls_nothing_is_no_client(source: str) -> None:
    assert not clients_in(source)


def test_the_client_of_remote_models_resolves_by_what_checks_addresses_alone() -> None:
    """It would resolve names itself where it is given no resolver, and ask proxies where it reads the environment."""
    path = ROOT / "services/inference/src/tidemill_inference/engines/endpoint.py"
    made = {
        name: {each.arg: ast.unparse(each.value) for each in node.keywords}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (name := getattr(node.func, "attr", "")) in {"TCPConnector", "ClientSession"}
    }
    assert made["TCPConnector"]["resolver"] == "_Resolver(self._origin, addresses)"
    assert made["TCPConnector"]["use_dns_cache"] == "False"
    assert made["ClientSession"]["trust_env"] == "False"
