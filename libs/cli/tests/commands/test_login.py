"""Login by a device code, at an identity provider of a few lines."""

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill_client.logins import login_file
from tidemill_core.errors import PermissionDenied

TOKEN = "header.payload.signature"  # noqa: S105 - of no installation
DEVICE = {
    "device_code": "dc",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://idp.test/device",
    "interval": 0.01,
}


class ProviderServer(ThreadingHTTPServer):
    """Answers as it is given."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.configuration: dict[str, Any] = {
            "issuer": self.issuer,
            "device_authorization_endpoint": f"{self.issuer}/device",
            "token_endpoint": f"{self.issuer}/token",
        }
        self.device: tuple[int, dict[str, Any]] = (200, DEVICE)
        self.tokens: list[tuple[int, dict[str, Any]]] = [
            (400, {"error": "authorization_pending"}),
            (400, {"error": "slow_down"}),
            (200, {"id_token": "the-id-token", "access_token": "other"}),
        ]


class Handler(BaseHTTPRequestHandler):
    """Discovery, the device endpoint and the token endpoint."""

    def do_GET(self) -> None:
        assert self.path == "/.well-known/openid-configuration"
        self._reply((200, self._provider.configuration))

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self._provider.asked.append((self.path, form))
        self._reply(self._provider.device if self.path == "/device" else self._provider.tokens.pop(0))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the library
        """Print nothing."""

    @property
    def _provider(self) -> ProviderServer:
        return cast("ProviderServer", self.server)

    def _reply(self, answer: tuple[int, dict[str, Any]]) -> None:
        body = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def provider(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    monkeypatch.setattr("tidemill_cli.login._SLOWER_S", 0.01)
    server = ProviderServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    running.answers["monitor.v1.access_service:GetAccessConfiguration"] = lambda _: pb.GetAccessConfigurationResponse(
        issuer="https://tidemill.test", identity_provider=server.issuer, client_id="tidemill-cli"
    )
    running.answers["monitor.v1.access_service:ExchangeToken"] = exchanged
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def exchanged(request: pb.ExchangeTokenRequest) -> pb.ExchangeTokenResponse:
    if request.subject_token != "the-id-token":  # noqa: S105 - of the provider above
        message = "not this one"
        raise PermissionDenied(message)
    return pb.ExchangeTokenResponse(token=TOKEN, subject="user:ada", project=request.project, roles=["operator"])


@pytest.fixture
def home(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    terminal.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
async def test_a_person_logs_in_and_the_token_is_in_a_file_for_its_owner(
    terminal: Terminal, provider: ProviderServer
) -> None:
    monitor = terminal.environment["TIDEMILL_MONITOR_ADDRESS"]

    said = await asyncio.to_thread(terminal, "login")

    assert said.code == 0, said.text
    assert "Open https://idp.test/device and confirm the code ABCD-EFGH" in said.text
    assert "user:ada in acme as operator" in said.text
    assert TOKEN not in said.text
    file = login_file(monitor, "acme")
    assert file.read_text() == f"{TOKEN}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    asked = [(path, form["client_id"], form.get("device_code")) for path, form in provider.asked]
    assert asked == [("/device", ["tidemill-cli"], None)] + [("/token", ["tidemill-cli"], ["dc"])] * 3
    forgotten = await asyncio.to_thread(terminal, "logout", "--json")
    assert forgotten.data == {"forgotten": 1}
    assert not file.exists()


@pytest.mark.usefixtures("home")
async def test_an_admin_logs_in_for_all_projects(terminal: Terminal, provider: ProviderServer) -> None:
    said = await asyncio.to_thread(terminal.typed, "login", "--all-projects", "--json")

    assert provider.tokens == []
    assert json.loads(said.text.splitlines()[-1])["project"] == "*"
    assert login_file(terminal.environment["TIDEMILL_MONITOR_ADDRESS"], "*").exists()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"tokens": [(400, {"error": "access_denied"})]}, "the login was refused (access_denied)"),
        ({"tokens": [(400, {"error": "expired_token"})]}, "the login was refused (expired_token)"),
        ({"tokens": [(200, {"access_token": "x"})]}, "the login was refused (200)"),
        ({"tokens": [(500, {})]}, "the login was refused (500)"),
        ({"tokens": [(200, {"id_token": "another"})]}, "not this one"),
        ({"device": (200, {**DEVICE, "expires_in": 0.001})}, "nothing was confirmed in time"),
        ({"device": (401, {"error": "invalid_client"})}, "no device code (invalid_client)"),
        ({"device": (200, {})}, "no device code (200)"),
        ({"configuration": {}}, "offers no login by a device code"),
    ],
)
async def test_a_login_that_does_not_succeed_says_why_and_leaves_no_file(
    terminal: Terminal, provider: ProviderServer, changed: dict[str, Any], reported: str
) -> None:
    for name, value in changed.items():
        setattr(provider, name, value)

    said = await asyncio.to_thread(terminal.typed, "login")

    assert said.code == 1
    assert reported in said.text
    assert not login_file(terminal.environment["TIDEMILL_MONITOR_ADDRESS"], "acme").exists()


@pytest.mark.usefixtures("home")
async def test_nothing_is_sent_to_an_address_without_tls(terminal: Terminal, provider: ProviderServer) -> None:
    provider.configuration["token_endpoint"] = "http://idp.example.org/token"  # noqa: S105 - an address

    said = await asyncio.to_thread(terminal.typed, "login")

    assert said.code == 1
    assert "'http://idp.example.org/token', which is not https" in said.text


@pytest.mark.usefixtures("home")
async def test_a_provider_that_is_away_and_an_installation_without_one_are_named(
    terminal: Terminal, running: Running, provider: ProviderServer
) -> None:
    def at(address: str) -> None:
        running.answers["monitor.v1.access_service:GetAccessConfiguration"] = lambda _: (
            pb.GetAccessConfigurationResponse(identity_provider=address, client_id="cli")
        )

    at("http://127.0.0.1:9")
    away = await asyncio.to_thread(terminal.typed, "login")
    at("")
    without = await asyncio.to_thread(terminal.typed, "login")

    assert (away.code, without.code) == (69, 1)
    assert "does not answer" in away.text
    assert "no identity provider: use an API key" in without.text
    assert provider.asked == []
