"""Who is on the other side of a connection, and that no third party reads it: TLS and SASL, of Kafka and of gRPC.

Certificates and keys are PEM files, read when a process starts: restart it to use new ones.
"""

from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Annotated, Any, Literal, Self

import grpc
from pydantic import BeforeValidator, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings

KafkaProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
PemFile = Annotated[FilePath | None, BeforeValidator(lambda given: given or None)]
"""A file that is there; empty is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaServers:
    """Where Kafka is and how it is spoken to."""

    bootstrap: str
    protocol: KafkaProtocol = "PLAINTEXT"
    mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    @classmethod
    def of(cls, servers: "KafkaServers | str") -> "KafkaServers":
        """Return the servers; a mere address is spoken to in plain text."""
        return servers if isinstance(servers, KafkaServers) else cls(bootstrap=servers)

    @property
    def sasl(self) -> bool:
        """Whether a client says who it is."""
        return self.protocol.startswith("SASL_")

    def ssl_context(self) -> SSLContext | None:
        """Return what checks the servers' certificates, None for plain text."""
        return create_default_context(cafile=self.ca_file) if self.protocol.endswith("SSL") else None

    def client_options(self) -> dict[str, Any]:
        """Return what every client of aiokafka needs to connect."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.sasl:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS of gRPC, in both directions; without files, plain text."""

    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    client_auth: bool = False

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Return what a server listens with, None for plain text."""
        if self.cert_file is None or self.key_file is None:
            return None
        pair = self.key_file.read_bytes(), self.cert_file.read_bytes()
        authority = self.ca_file.read_bytes() if self.client_auth and self.ca_file else None
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=self.client_auth)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return what servers are called with, None for plain text; the own certificate is shown where there is one."""
        if self.ca_file is None:
            return None
        key = self.key_file.read_bytes() if self.key_file else None
        certificate = self.cert_file.read_bytes() if self.cert_file else None
        return grpc.ssl_channel_credentials(self.ca_file.read_bytes(), key, certificate)


class TransportSettings(BaseSettings):
    """How Kafka and gRPC are spoken to; the same names for every service, and for clients."""

    kafka_security_protocol: KafkaProtocol = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as Kafka calls them."""
    kafka_sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    kafka_username: str = ""
    """The user of SASL."""
    kafka_password: SecretStr = SecretStr("")
    """The password of SASL."""
    kafka_ca_file: PemFile = None
    """The authorities (PEM) that Kafka's certificates may be of; none are those of the machine."""
    tls_cert_file: PemFile = None
    """The own certificate with its chain (PEM): gRPC is served by TLS only. Calls present it too."""
    tls_key_file: PemFile = None
    """The key of the own certificate (PEM)."""
    tls_ca_file: PemFile = None
    """The authorities (PEM) of the gRPC servers that are called, which are then called by TLS only."""
    tls_client_auth: bool = False
    """True answers only callers with a certificate of the authorities."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse a choice that lacks a part of it."""
        if self.kafka_security_protocol.startswith("SASL_") and not (
            self.kafka_username and self.kafka_password.get_secret_value()
        ):
            message = "KAFKA_SECURITY_PROTOCOL names SASL: set KAFKA_USERNAME and KAFKA_PASSWORD too"
            raise ValueError(message)
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            message = "TLS_CERT_FILE and TLS_KEY_FILE belong together: set both, or none"
            raise ValueError(message)
        if self.tls_client_auth and not (self.tls_cert_file and self.tls_ca_file):
            message = "TLS_CLIENT_AUTH needs TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE: set them, or leave it out"
            raise ValueError(message)
        return self

    @property
    def tls(self) -> Tls:
        """TLS of gRPC."""
        return Tls(
            cert_file=self.tls_cert_file,
            key_file=self.tls_key_file,
            ca_file=self.tls_ca_file,
            client_auth=self.tls_client_auth,
        )

    def kafka_servers(self, bootstrap: str) -> KafkaServers:
        """Return Kafka as these settings speak to it."""
        return KafkaServers(
            bootstrap=bootstrap,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value(),
            ca_file=self.kafka_ca_file,
        )
