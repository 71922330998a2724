"""Key sets by discovery, by URL and from a file; nothing else that an issuer answers counts."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.kit.tests.access.support import Checked
from tidemill_kit.access import documents
from tidemill_kit.access.documents import IssuerUnavailable, key_set_of
from tidemill_kit.access.keys import IssuerKeys, KeyTimes, SigningKeys
from tidemill_kit.access.tokens import public_set
from tidemill_testkit.access import TestIssuer

DISCOVERY = "/.well-known/openid-configuration"


class Site:
    """Answers paths with what a test says, over HTTP."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []
        self.address = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        status, body = self.answers.get(path, ("404 Not Found", b""))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    def publish(self, issuer: TestIssuer, /, **changes: Any) -> None:  # noqa: ANN401 - of any field
        """Serve the issuer's keys, and a configuration that names them."""
        configuration = {"issuer": self.address, "jwks_uri": f"{self.address}/keys", **changes}
        self.answers |= {
            DISCOVERY: ("200 OK", json.dumps(configuration).encode()),
            "/keys": ("200 OK", public_set([issuer.key])),
        }


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield site
    server.close()


@pytest.mark.parametrize("by", ["discovery", "url"])
async def test_an_issuer_is_trusted_by_its_address_alone(site: Site, tmp_path: Path, by: str) -> None:
    issuer = TestIssuer(tmp_path, issuer=site.address)
    site.publish(issuer)
    check = Checked(issuer)
    read = key_set_of(site.address, "" if by == "discovery" else f"{site.address}/keys")
    keys = SigningKeys([IssuerKeys(site.address, read, KeyTimes())])
    check.authenticator._keys = keys  # noqa: SLF001 - the only part that differs

    assert (await check(issuer.token("acme", "viewer"))).caller.project == "acme"
    assert site.asked == ([DISCOVERY, "/keys"] if by == "discovery" else ["/keys"])


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": "file:/etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": None},
        {"jwks_uri": ["https://a"]},
    ],
    ids=str,
)
async def test_a_configuration_that_is_not_the_issuer_s_own_is_refused(
    site: Site, tmp_path: Path, changes: dict[str, object]
) -> None:
    site.publish(TestIssuer(tmp_path), **changes)
    with pytest.raises(IssuerUnavailable):
        await key_set_of(site.address, "")()


async def test_keys_of_an_issuer_with_tls_are_not_read_without(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    async def get(address: str, _: object) -> dict[str, Any]:
        read.append(address)
        return {"issuer": "https://issuer.test", "jwks_uri": "http://issuer.test/keys"}

    monkeypatch.setattr(documents, "_get", get)
    with pytest.raises(IssuerUnavailable, match="without TLS"):
        await key_set_of("https://issuer.test", "")()
    assert read == [f"https://issuer.test{DISCOVERY}"]


async def test_an_address_inside_counts_only_where_the_operator_wrote_it(site: Site, tmp_path: Path) -> None:
    """An issuer outside must not have a service read what is inside, by the address of keys that it names."""
    port = site.address.rpartition(":")[2]
    site.publish(TestIssuer(tmp_path), jwks_uri=f"http://localhost:{port}/keys")
    with pytest.raises(IssuerUnavailable, match="ConnectError"):
        await key_set_of(site.address, "")()
    assert site.asked == [DISCOVERY]
    assert await key_set_of(site.address, f"http://localhost:{port}/keys")()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("302 Found\r\nLocation: /keys", b""),
        ("500 Internal Server Error", b"{}"),
        ("200 OK", b""),
        ("200 OK", b"[]"),
        ("200 OK", b"<html>"),
        ("200 OK", b"[" * 100_000),
        ("200 OK", b'{"keys": "' + b"x" * 300_000 + b'"}'),
        ("200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b\x00"),
    ],
    ids=range(8),
)
async def test_what_is_no_key_set_is_refused_and_no_redirect_is_followed(
    site: Site, tmp_path: Path, status: str, body: bytes
) -> None:
    site.publish(TestIssuer(tmp_path))
    site.answers["/odd"] = (status, body)
    with pytest.raises(IssuerUnavailable):
        await key_set_of(site.address, f"{site.address}/odd")()
    assert site.asked == ["/odd"]


async def test_a_file_that_is_too_large_is_refused_for_its_size(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(b'{"keys": "' + b"x" * documents.MAX_BYTES + b'"}')
    with pytest.raises(IssuerUnavailable, match=f"more than {documents.MAX_BYTES} bytes"):
        await key_set_of("https://issuer.test", f"file:{file}")()


async def test_an_issuer_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(documents, "TIMEOUT_S", 0.2)
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for address in (f"http://127.0.0.1:{port}/keys", "http://127.0.0.1:1/keys", f"file:{tmp_path}/absent"):
        with pytest.raises(IssuerUnavailable):
            await key_set_of("https://issuer.test", address)()
    server.close()


@pytest.mark.parametrize(
    "published",
    [
        {"keys": []},
        {"keys": "none"},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]},
        {"keys": [{"kty": "RSA", "kid": "a"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "!", "kid": "a"}, 3, None]},
        {"keys": [{"kty": "none", "kid": "a"}]},
        {},
    ],
    ids=range(7),
)
async def test_a_set_without_a_usable_key_changes_nothing(published: dict[str, object], tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    check = Checked(issuer)
    await check(issuer.token())
    issuer.file.write_text(json.dumps(published), encoding="utf-8")
    await check.keys[0].refresh()

    assert (await check(issuer.token())).caller.project == "acme"


async def test_of_two_keys_with_one_id_neither_counts(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    (ours,) = json.loads(public_set([issuer.key]))["keys"]
    other = TestIssuer(tmp_path)
    (theirs,) = json.loads(public_set([other.key]))["keys"]
    issuer.file.write_text(json.dumps({"keys": [ours, {**theirs, "kid": ours["kid"]}, theirs]}), encoding="utf-8")
    keys = Checked(issuer).keys[0]
    await keys.refresh()

    assert (await keys.key(theirs["kid"])).kid == theirs["kid"]
    with pytest.raises(Exception, match="not accepted"):
        await keys.key(ours["kid"])
