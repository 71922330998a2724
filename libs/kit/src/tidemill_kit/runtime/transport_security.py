"""Settings of TLS and SASL, of Kafka and of gRPC."""

from typing import Annotated, Self

from pydantic import BeforeValidator, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings

from tidemill_core.transport_security import KafkaProtocol, KafkaServers, SaslMechanism, Tls

PemFile = Annotated[FilePath | None, BeforeValidator(lambda given: given or None)]
"""A file that is there; empty is none."""


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
    tls_allow_plaintext: bool = False
    """True sends and takes credentials without TLS also beyond this machine, for example in a private network."""

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
            allow_plaintext=self.tls_allow_plaintext,
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
