"""How commands speak to Kafka: as the environment says, else as a user of the running stack."""

from dataclasses import replace

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from tidemill_client.connection import Addresses, NoAddress, UnusableTransport
from tidemill_core.transport_security import KafkaServers, Secret
from tidemill_kit.runtime.transport_security import TransportSettings

TOOLS = "tidemill-tools"
"""The stack's user who may read."""
REDRIVE = "tidemill-redrive"
"""The stack's user who may also write dead letters again where they came from."""
ADMIN = "tidemill-admin"


class ClientTransport(TransportSettings):
    """TLS and SASL settings of clients, read from TIDEMILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_", frozen=True, extra="ignore")


def kafka_servers(user: str = TOOLS) -> KafkaServers:
    """Return Kafka's address and security settings; of the running stack, those of one of its users.

    Raises:
        NoAddress: neither the environment nor a running stack provides the address.
        UnusableTransport: a setting is invalid.

    """
    addresses = Addresses.find()
    if not addresses.kafka:
        message = "the address of Kafka is not configured: run `tidemill up`, or set TIDEMILL_KAFKA_ADDRESS"
        raise NoAddress(message, service="kafka")
    try:
        transport = ClientTransport()
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        lines = [" ".join([*(f"TIDEMILL_{each}".upper() for each in p["loc"]), p["msg"]]) for p in problems]
        raise UnusableTransport("; ".join(lines)) from None
    servers = transport.kafka_servers(addresses.kafka)
    if not servers.sasl and (password := addresses.kafka_password(user)):
        return replace(servers, protocol="SASL_PLAINTEXT", username=user, password=Secret(file=password))
    if servers.exposes_secret and not transport.tls_allow_plaintext:
        message = (
            f"a secret would go to {addresses.kafka} in plain text: set TIDEMILL_KAFKA_SECURITY_PROTOCOL=SASL_SSL, or, "
            "where the network is private, TIDEMILL_TLS_ALLOW_PLAINTEXT=true"
        )
        raise UnusableTransport(message)
    return servers
