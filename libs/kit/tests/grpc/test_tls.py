"""gRPC by TLS, with certificates of an authority that each test run makes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from pydantic import ValidationError

from libs.kit.tests.grpc.support import ACME, Context, serving, settings, sources
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.grpc.client import open_channel
from tidemill_core.transport_security import PlaintextRefused, Tls
from tidemill_testkit.access import admin_channel

Files = dict[str, Path]


@pytest.fixture(scope="module")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """Return what writes a certificate of an authority, which is made with the first one of its name."""
    folder, authorities = tmp_path_factory.mktemp("tls"), dict[str, trustme.CA]()

    def issued(authority: str) -> Files:
        ca = authorities.setdefault(authority, trustme.CA())
        files = {name: folder / f"{authority}-{name}.pem" for name in ("tls_cert_file", "tls_key_file", "tls_ca_file")}
        certificate = ca.issue_cert("127.0.0.1", "localhost")
        files["tls_cert_file"].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        files["tls_key_file"].write_bytes(certificate.private_key_pem.bytes())
        files["tls_ca_file"].write_bytes(ca.cert_pem.bytes())
        return files

    return issued


async def answer(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
    return GetSourceResponse()


async def asked(address: str, tls: Tls | None) -> GetSourceResponse:
    async with admin_channel(address, name="probe", project="acme", timeout_s=1, tls=tls) as channel:
        return await SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms"))


async def test_a_service_with_a_certificate_answers_by_tls_and_only_by_it(issue: Callable[[str], Files]) -> None:
    ours = issue("ours")
    async with serving(sources(GetSource=answer), **ours) as running:
        await asked(running.address, Tls(ca_file=ours["tls_ca_file"]))
        await asked(running.address.replace("127.0.0.1", "localhost"), Tls(ca_file=ours["tls_ca_file"]))
        with pytest.raises(DependencyUnavailable):
            await asked(running.address, None)
        with pytest.raises(DependencyUnavailable):
            await asked(running.address, Tls(ca_file=issue("another")["tls_ca_file"]))


async def test_only_callers_with_a_certificate_of_the_authority_are_answered(issue: Callable[[str], Files]) -> None:
    ours, others = issue("ours"), issue("another")
    async with serving(sources(GetSource=answer), **ours, tls_client_auth=True) as running:
        await asked(running.address, settings(**ours).tls)
        for stranger in (
            Tls(ca_file=ours["tls_ca_file"]),
            Tls(ca_file=ours["tls_ca_file"], cert_file=others["tls_cert_file"], key_file=others["tls_key_file"]),
        ):
            with pytest.raises(DependencyUnavailable):
                await asked(running.address, stranger)


async def test_the_own_authority_makes_calls_by_tls_though_the_server_speaks_plain_text(
    issue: Callable[[str], Files],
) -> None:
    async with serving(sources(GetSource=answer)) as running:
        with pytest.raises(DependencyUnavailable):
            await asked(running.address, settings(tls_ca_file=issue("ours")["tls_ca_file"]).tls)
        async with grpc.aio.insecure_channel(running.address) as plain:
            await SourceServiceStub(plain).GetSource(GetSourceRequest(id="cms"), metadata=ACME)


SASL = {"kafka_security_protocol": "SASL_SSL"}
BEARER = SASL | {"kafka_sasl_mechanism": "OAUTHBEARER"}
ENDPOINT = BEARER | {"kafka_token_url": "https://i.example/t", "kafka_client_id": "c", "kafka_client_secret": "s"}
REMOTE = {"kafka_bootstrap_servers": "kafka:9092"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls_cert_file": True}, "TLS_CERT_FILE and TLS_KEY_FILE belong together"),
        ({"tls_client_auth": True}, "TLS_CLIENT_AUTH needs TLS_CERT_FILE"),
        ({"access_issuers": "https://issuer.example", "host": "10.0.0.7"}, "HOST 10.0.0.7 takes credentials in plain"),
        ({"kafka_security_protocol": "SASL_SSL"}, "set KAFKA_USERNAME and KAFKA_PASSWORD"),
        (SASL | {"kafka_username": "u"}, "KAFKA_PASSWORD or KAFKA_PASSWORD_FILE"),
        (SASL | {"kafka_username": "u", "kafka_password": "p", "kafka_password_file": True}, "set one of them"),
        (BEARER, "set KAFKA_TOKEN_FILE or KAFKA_TOKEN_URL"),
        (BEARER | {"kafka_token_file": True, "kafka_token_url": "https://id.example/t"}, "one of them"),
        (BEARER | {"kafka_token_url": "https://id.example/t", "kafka_client_id": "c"}, "KAFKA_CLIENT_SECRET_FILE"),
        (ENDPOINT | {"kafka_token_url": "http://id.example/t"}, "client's secret in plain text"),
        (ENDPOINT | {"kafka_token_url": "http://127.0.0.1@id.example/t"}, "client's secret in plain text"),
        (ENDPOINT | {"kafka_security_protocol": "SASL_PLAINTEXT"} | REMOTE, "OAUTHBEARER would send its secret"),
        ({"kafka_security_protocol": "TLS"}, "Input should be 'PLAINTEXT', 'SSL'"),
        ({"tls_ca_file": "/nowhere"}, "does not point to a file"),
    ],
)
def test_half_a_choice_is_refused_when_settings_are_read(given: dict[str, Any], why: str, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.touch()
    with pytest.raises(ValidationError, match=why):
        settings(**{name: file if value is True and "file" in name else value for name, value in given.items()})


@pytest.mark.parametrize("address", ["monitor.example:443", "10.0.0.7:50051", "[2001:db8::1]:50051"])
def test_a_credential_is_not_sent_beyond_this_machine_in_plain_text(address: str) -> None:
    with pytest.raises(PlaintextRefused, match="TLS_ALLOW_PLAINTEXT"):
        open_channel(address, credential=lambda: "a.b.c")


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "localhost:50051", "[::1]:50051"])
async def test_on_this_machine_it_is(address: str) -> None:
    await open_channel(address, credential=lambda: "a.b.c").close()


async def test_a_setting_allows_plain_text_in_a_private_network() -> None:
    await open_channel("10.0.0.7:50051", credential=lambda: "a.b.c", tls=Tls(allow_plaintext=True)).close()
