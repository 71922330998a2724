"""How Kafka is spoken to: what settings say reaches every client."""

import inspect
from dataclasses import replace
from pathlib import Path
from ssl import CERT_REQUIRED, SSLContext
from typing import Any

import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from faststream.kafka.security import parse_security

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import ClientCredentials, KafkaProtocol, KafkaServers, SaslMechanism, Secret
from tidemill_kit.events import connection, kafka, subscriber
from tidemill_kit.events.consumer import ConsumerRunner
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.subscriptions import Delivery, Subscription

SUBSCRIPTION = Subscription(name="tests.tls", topics=("tests",), delivery=Delivery.ONCE, routes={})


def servers(protocol: KafkaProtocol, mechanism: SaslMechanism = "PLAIN", ca_file: Path | None = None) -> KafkaServers:
    return KafkaServers(
        bootstrap="127.0.0.1:1",
        protocol=protocol,
        mechanism=mechanism,
        username="tidemill",
        password=Secret("a secret"),
        token=Secret("a token"),
        ca_file=ca_file,
    )


CHOICES = [
    servers("PLAINTEXT"),
    servers("SSL"),
    servers("SASL_PLAINTEXT", "PLAIN"),
    servers("SASL_SSL", "SCRAM-SHA-256"),
    servers("SASL_SSL", "SCRAM-SHA-512"),
]


def without_context(options: dict[str, Any]) -> dict[str, Any]:
    context = options["ssl_context"]
    if context is not None:
        assert isinstance(context, SSLContext)
        assert (context.verify_mode, context.check_hostname) == (CERT_REQUIRED, True)
    return options | {"ssl_context": context is not None}


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda each: f"{each.protocol} {each.mechanism}")
def test_consumers_and_producers_speak_alike(chosen: KafkaServers) -> None:
    options = without_context(connection.client_options(chosen))
    brokers = without_context(parse_security(subscriber.broker_security(chosen)))

    assert options == {"bootstrap_servers": "127.0.0.1:1", **brokers}
    assert options["ssl_context"] == chosen.protocol.endswith("SSL")
    assert ("a secret" in options.values()) == chosen.sasl
    for client in (AIOKafkaConsumer, AIOKafkaProducer):
        assert options.keys() <= inspect.signature(client.__init__).parameters.keys()


def test_the_own_authorities_are_the_only_ones(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))

    context = servers("SSL", ca_file=file).ssl_context()
    assert context is not None
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
async def test_what_settings_say_reaches_every_client(
    monkeypatch: pytest.MonkeyPatch, mechanism: SaslMechanism
) -> None:
    given: list[dict[str, Any]] = []

    class Remembering(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
        def __init__(self, *topics: str, **options: Any) -> None:  # noqa: ANN401 - the client's own
            given.append(options)
            super().__init__(*topics, **options)

    class RememberingProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the client's own
            given.append(options)
            super().__init__(**options)

    monkeypatch.setattr(kafka, "AIOKafkaConsumer", Remembering)
    monkeypatch.setattr("aiokafka.AIOKafkaConsumer", Remembering)
    monkeypatch.setattr(kafka, "AIOKafkaProducer", RememberingProducer)
    chosen, publisher = servers("SASL_SSL", mechanism), kafka.Publisher("127.0.0.1:1")
    with pytest.raises(DependencyUnavailable):
        await kafka.Publisher(chosen).start()
    with pytest.raises(DependencyUnavailable):
        _ = [record async for record in kafka.read_topic(chosen, "tests")]
    with pytest.raises(DependencyUnavailable):
        await ConsumerRunner(chosen, Engine(SUBSCRIPTION, dead_letters=publisher)).start()

    assert len(given) == 3
    for options in given:
        assert options["security_protocol"] == "SASL_SSL"
        assert options["sasl_mechanism"] == mechanism
        if mechanism == "OAUTHBEARER":
            assert await options["sasl_oauth_token_provider"].token() == "a token"
        else:
            assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("tidemill", "a secret")
        assert isinstance(options["ssl_context"], SSLContext)


def test_secrets_are_not_shown() -> None:
    endpoint = ClientCredentials(url="https://id.example/token", client_id="t", client_secret=Secret("of the client"))
    shown = repr([*CHOICES, replace(CHOICES[2], token=endpoint), connection.token_provider(CHOICES[2])])

    assert [each for each in ("a secret", "a token", "of the client") if each in shown] == []


async def test_a_token_is_read_from_its_file_at_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = connection.FileTokens(Secret(file=file))
    with pytest.raises(KafkaConnectionError, match="FileNotFoundError"):
        await tokens.token()
    for text in ("first", "second"):
        file.write_text(f"{text}\n")
        assert await tokens.token() == text


def test_a_password_in_a_file_is_the_one_that_stands_there_now(tmp_path: Path) -> None:
    file = tmp_path / "password"
    chosen = replace(CHOICES[3], password=Secret(file=file))
    for text in ("first", "second"):
        file.write_text(f"{text}\n")
        assert connection.client_options(chosen)["sasl_plain_password"] == text
    file.write_text("\n")
    with pytest.raises(DependencyUnavailable, match="it is empty"):
        connection.client_options(chosen)


@pytest.mark.parametrize(
    ("protocol", "mechanism", "bootstrap", "exposed"),
    [
        ("SASL_PLAINTEXT", "PLAIN", "kafka:9092", True),
        ("SASL_PLAINTEXT", "OAUTHBEARER", "127.0.0.1:9092,kafka:9092", True),
        ("SASL_PLAINTEXT", "PLAIN", "127.0.0.1:9092,localhost:9093", False),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512", "kafka:9092", False),
        ("SASL_SSL", "PLAIN", "kafka:9092", False),
    ],
)
def test_a_secret_is_not_sent_to_other_machines_in_plain_text(
    protocol: KafkaProtocol,
    mechanism: SaslMechanism,
    bootstrap: str,
    exposed: bool,  # noqa: FBT001 - of a table
) -> None:
    assert replace(servers(protocol, mechanism), bootstrap=bootstrap).exposes_secret is exposed
