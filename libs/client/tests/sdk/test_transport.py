"""How the SDK speaks to services and Kafka: what the environment says."""

from pathlib import Path

import pytest
import trustme

from libs.kit.tests.grpc.support import Context, serving, sources
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill_client.cli.events import kafka_servers
from tidemill_client.connection import Addresses, Connection, UnusableTransport, transport


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


def test_kafka_is_spoken_to_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"KAFKA_ADDRESS": "kafka:9092", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    given |= {"KAFKA_USERNAME": "ada", "KAFKA_PASSWORD": "a secret"}
    for name, value in given.items():
        monkeypatch.setenv(f"TIDEMILL_{name}", value)

    options = kafka_servers().client_options()
    assert options["bootstrap_servers"] == "kafka:9092"
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "a secret"  # noqa: S105 - of this test


def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_TLS_CA_FILE", "/nowhere")
    with pytest.raises(UnusableTransport, match="TIDEMILL_TLS_CA_FILE Path does not point to a file"):
        transport()
