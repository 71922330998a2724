"""No API can be built, and no service loads settings, without what checks credentials."""

import ast
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from tidemill_kit.access.access import Access
from tidemill_kit.grpc.interceptors import EdgeInterceptor
from tidemill_kit.grpc.server import GrpcServer, Services
from tidemill_kit.http.application import application
from tidemill_kit.http.exchange import Exchange, HttpEdge
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_kit.runtime.settings import ServiceSettings, load
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend

ROOT = Path(__file__).resolve().parents[4]
SERVICES = ("ingest", "rag", "trainer", "inference", "feedback", "evaluator", "monitor")
MAKES_A_SERVER = {"grpc.aio.server", "grpc.server", "Starlette", "FastAPI", "uvicorn.run", "uvicorn.Server"}
"""What makes a server, or the application of one; a service has the kit do it."""
SAID = "Value error, name the issuers whose credentials are taken"
KIT = {
    "libs/kit/src/tidemill_kit/grpc/server.py": "grpc.aio.server",
    "libs/kit/src/tidemill_kit/http/application.py": "Starlette",
}


@pytest.mark.parametrize(
    "built",
    [GrpcServer, HttpRpcs, App, EdgeInterceptor, HttpEdge, Exchange, Services.edge, application],
    ids=lambda each: each.__qualname__,
)
def test_what_answers_calls_cannot_be_built_without_access(built: Callable[..., Any]) -> None:
    parameter = inspect.signature(built).parameters["access"]
    hints = get_type_hints(built.__init__ if isinstance(built, type) else built)  # type: ignore[misc] # of a type

    assert parameter.default is inspect.Parameter.empty
    assert hints["access"] is Access


def test_a_backend_always_has_access() -> None:
    assert get_type_hints(Access.of)["return"] is Access
    assert "Access.of(settings)" in inspect.getsource(Backend.__init__)


def servers_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in MAKES_A_SERVER:
            yield name


def test_servers_are_made_in_the_kit_alone() -> None:
    files = [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("libs/kit/src/**/*.py")]
    named = tuple(f"{name.rpartition('.')[2]}(" for name in MAKES_A_SERVER)  # few files are worth parsing
    texts = {file: text for file in files if any(name in (text := file.read_text("utf-8")) for name in named)}
    found = {str(file.relative_to(ROOT)): name for file, text in texts.items() for name in servers_in(text)}

    assert found == KIT


def settings_of(service: str) -> type[ServiceSettings]:
    kind: type[ServiceSettings] = getattr(
        import_module(f"tidemill_{service}.settings"), f"{service.capitalize()}Settings"
    )
    return kind


def test_monitor_alone_opens_deleted_projects_to_admins_of_the_installation() -> None:
    assert {service for service in SERVICES if settings_of(service).opens_deleted_projects} == {"monitor"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("issuers", ["", None])
def test_settings_without_issuers_are_refused_and_say_what_to_set(
    service: str, issuers: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{service}_ACCESS_ISSUERS".upper()
    monkeypatch.delenv(name, raising=False)
    if issuers is not None:
        monkeypatch.setenv(name, issuers)
    with pytest.raises(SystemExit) as refused:
        load(settings_of(service))

    assert refused.value.code == 2
    assert f"  {name}: {SAID}" in capsys.readouterr().err
