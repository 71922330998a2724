"""How commands speak to Kafka: what the environment says."""

import pytest

from tidemill_cli.events import kafka_servers
from tidemill_client.connection import UnusableTransport
from tidemill_kit.events.connection import client_options


def test_kafka_is_spoken_to_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"KAFKA_ADDRESS": "kafka:9092", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    given |= {"KAFKA_USERNAME": "ada", "KAFKA_PASSWORD": "a secret"}
    for name, value in given.items():
        monkeypatch.setenv(f"TIDEMILL_{name}", value)

    options = client_options(kafka_servers())
    assert options["bootstrap_servers"] == "kafka:9092"
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "a secret"  # noqa: S105 - of this test


def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_KAFKA_ADDRESS", "kafka:9092")
    monkeypatch.setenv("TIDEMILL_KAFKA_CA_FILE", "/nowhere")
    with pytest.raises(UnusableTransport, match="TIDEMILL_KAFKA_CA_FILE Path does not point to a file"):
        kafka_servers()
