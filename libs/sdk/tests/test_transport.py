"""How the SDK speaks to services: what the environment says."""

from pathlib import Path

import pytest
import trustme

from libs.kit.tests.grpc.support import Context, serving, sources
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill_client.connection import Addresses, Connection, UnusableTransport, tls_of_environment
from tidemill_core.transport_security import Tls


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
        Connection("acme", Addresses(services={"ingest": running.address})) as connection,
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
