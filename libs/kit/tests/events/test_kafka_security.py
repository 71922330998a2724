"""How Kafka is spoken to: what settings say reaches every client."""

import inspect
from pathlib import Path
from ssl import CERT_REQUIRED, SSLContext
from typing import Any

import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream.kafka.security import parse_security

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import KafkaProtocol, KafkaServers, SaslMechanism
from tidemill_kit.events import kafka, subscriber
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
        password="a secret",  # noqa: S106 - of a test
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
    options = without_context(chosen.client_options())
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


async def test_what_settings_say_reaches_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
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
    chosen, publisher = servers("SASL_SSL", "SCRAM-SHA-512"), kafka.Publisher("127.0.0.1:1")
    with pytest.raises(DependencyUnavailable):
        await kafka.Publisher(chosen).start()
    with pytest.raises(DependencyUnavailable):
        _ = [record async for record in kafka.read_topic(chosen, "tests")]
    with pytest.raises(DependencyUnavailable):
        await ConsumerRunner(chosen, Engine(SUBSCRIPTION, dead_letters=publisher)).start()

    assert len(given) == 3
    for options in given:
        assert options["security_protocol"] == "SASL_SSL"
        assert options["sasl_mechanism"] == "SCRAM-SHA-512"
        assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("tidemill", "a secret")
        assert isinstance(options["ssl_context"], SSLContext)


def test_a_password_is_not_shown() -> None:
    assert "a secret" not in repr(CHOICES[2])
