"""How the SDK speaks to services: what the environment says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from libs.kit.tests.grpc.support import Context, caller_as_source, serving, sources
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill_client.connection import (
    Addresses,
    Connection,
    UnusableTransport,
    credential_of_environment,
    tls_of_environment,
)
from tidemill_client.logins import forget_logins, remember_login
from tidemill_core.errors import InvalidInput, Unauthenticated
from tidemill_core.grpc.credentials import Credential
from tidemill_core.transport_security import Tls
from tidemill_testkit.access import TestIssuer, access_of, admin_token


async def test_services_are_called_by_tls_with_the_own_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("tls_ca_file", "tls_cert_file", "tls_key_file")}
    authority.cert_pem.write_to_path(str(files["tls_ca_file"]))
    pair.cert_chain_pems[0].write_to_path(str(files["tls_cert_file"]))
    pair.private_key_pem.write_to_path(str(files["tls_key_file"]))
    for name, path in files.items():
        monkeypatch.setenv(f"TIDEMILL_{name}".upper(), str(path))

    async def answer(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse()

    async with (
        serving(sources(GetSource=answer), **files, tls_client_auth=True) as running,
        Connection("acme", Addresses(services={"ingest": running.address}), credential=admin_token) as connection,
    ):
        await connection.sources.GetSource(GetSourceRequest(id="cms"))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"ca_file": "/nowhere"}, "TIDEMILL_TLS_CA_FILE does not point to a file"),
        ({"key_file": __file__}, "TIDEMILL_TLS_CERT_FILE and TIDEMILL_TLS_KEY_FILE belong together"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"TIDEMILL_TLS_{name}".upper(), value)
    with pytest.raises(UnusableTransport, match=problem):
        tls_of_environment()


def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_TLS_CA_FILE", "")

    assert tls_of_environment() == Tls()


def given(by: str, token: str) -> Callable[[], str] | str | None:
    match by:
        case "argument":
            return token
        case "function":
            return lambda: token
    return None


@pytest.mark.parametrize("by", ["argument", "function", "variable", "file"])
async def test_calls_carry_the_credential(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, file = TestIssuer(tmp_path), tmp_path / "credential"
    token = issuer.token("acme", "viewer")
    file.write_text(f"{token}\n", encoding="utf-8")
    if by in ("variable", "file"):
        monkeypatch.setenv(
            "TIDEMILL_CREDENTIAL" + ("_FILE" if by == "file" else ""), str(file) if by == "file" else token
        )

    async with (
        serving(sources(GetSource=caller_as_source), access=access_of(issuer)) as running,
        Connection("acme", Addresses(services={"ingest": running.address}), credential=given(by, token)) as connection,
    ):
        assert (await connection.sources.GetSource(GetSourceRequest(id="cms"))).source.project == "acme"


async def test_a_call_without_a_credential_says_what_to_send(tmp_path: Path) -> None:
    async with (
        serving(sources(GetSource=caller_as_source), access=access_of(TestIssuer(tmp_path))) as running,
        Connection("acme", Addresses(services={"ingest": running.address})) as connection,
    ):
        with pytest.raises(Unauthenticated, match="send a credential") as refused:
            await connection.sources.GetSource(GetSourceRequest(id="cms"))
    assert refused.value.reason == "CREDENTIAL_MISSING"


async def test_calls_carry_the_token_of_the_last_login_to_the_installation_that_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    issuer = TestIssuer(tmp_path)
    remember_login("monitor.test:1", "acme", issuer.token("acme", "viewer"))
    remember_login("admin.test:1", "*", issuer.token("*", "installation_admin"))

    async def project_of(monitor: str, project: str) -> str:
        addresses = Addresses(services={"ingest": running.address, "monitor": monitor})
        async with Connection(project, addresses) as connection:
            return (await connection.sources.GetSource(GetSourceRequest(id="cms"))).source.project

    async with serving(sources(GetSource=caller_as_source), access=access_of(issuer)) as running:
        assert await project_of("monitor.test:1", "acme") == "acme"
        assert await project_of("admin.test:1", "globex") == "globex"
        for monitor, project in (("monitor.test:1", "globex"), ("another.test:1", "acme"), ("", "acme")):
            with pytest.raises(Unauthenticated, match="send a credential"):
                await project_of(monitor, project)
        assert (forget_logins("monitor.test:1"), forget_logins("monitor.test:1")) == (1, 0)
        with pytest.raises(Unauthenticated, match="send a credential"):
            await project_of("monitor.test:1", "acme")


LOGIN, OF_STACK = "login.of.corp", "admin.of.stack"


@pytest.mark.parametrize(
    ("monitor", "ingest", "environment", "file", "sent"),
    [
        ("127.0.0.1:1", "127.0.0.1", {}, "inside", OF_STACK),
        ("127.0.0.1:1", "127.0.0.1", {}, "outside", ""),
        ("127.0.0.1:1", "127.0.0.1", {}, "link", ""),
        ("127.0.0.1:1", "elsewhere.test", {}, "inside", ""),
        ("corp.test:1", "elsewhere.test", {}, "inside", ""),
        ("127.0.0.1:1", "127.0.0.1", {"MONITOR": "corp.test:1"}, "inside", ""),
        ("127.0.0.1:1", "127.0.0.1", {"MONITOR": "corp.test:1", "INGEST": "corp.test:2"}, "inside", LOGIN),
        ("127.0.0.1:7", "127.0.0.1", {}, "", LOGIN),
        ("127.0.0.1:7", "127.0.0.1", {"INGEST": "corp.test:2"}, "", ""),
    ],
)
def test_a_stored_credential_goes_only_where_it_is_from(  # noqa: PLR0913 - columns
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    monitor: str,
    ingest: str,
    environment: dict[str, str],
    file: str,
    sent: str,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, address in environment.items():
        monkeypatch.setenv(f"TIDEMILL_{name}_ADDRESS", address)
    for address in ("corp.test:1", "127.0.0.1:7"):
        remember_login(address, "acme", LOGIN)
    (tmp_path / ".tidemill").mkdir()
    files = {
        "inside": tmp_path / ".tidemill" / "admin",
        "outside": tmp_path / "admin",
        "link": tmp_path / ".tidemill" / "link",
    }
    files["inside"].write_text(OF_STACK)
    files["outside"].write_text(OF_STACK)
    files["link"].symlink_to(files["outside"])
    services = {"monitor": {"grpc": monitor}, "ingest": {"grpc": f"{ingest}:2"}}
    stack = {"services": services, "credential_file": str(files.get(file, ""))}
    (tmp_path / ".tidemill" / "stack.json").write_text(json.dumps(stack))
    given: list[Credential | None] = []

    def opened(_address: str, *, credential: Credential | None, **_: object) -> object:
        given.append(credential)
        return object()

    monkeypatch.setattr("tidemill_client.connection.open_channel", opened)
    Connection("acme", Addresses.find(tmp_path)).channel("ingest")
    (credential,) = given
    assert (credential() if credential else "") == sent


def test_two_credentials_in_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_CREDENTIAL", "a.b.c")
    monkeypatch.setenv("TIDEMILL_CREDENTIAL_FILE", "/nowhere")
    with pytest.raises(UnusableTransport, match="both set"):
        credential_of_environment()


@pytest.mark.parametrize("project", ["A B", "-a", "a" * 64, "acme/other", "*"])
def test_what_no_project_can_be_named_is_refused_before_anything_is_sent(project: str) -> None:
    with pytest.raises(InvalidInput, match=r"^project: is .*; use 1 to 63 characters"):
        Connection(project, Addresses(services={}))
