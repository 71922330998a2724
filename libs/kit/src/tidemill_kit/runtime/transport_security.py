"""Settings of TLS and SASL, of Kafka and of gRPC."""

from collections.abc import Iterator
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings

from tidemill_core.transport_security import (
    ClientCredentials,
    KafkaProtocol,
    KafkaServers,
    SaslMechanism,
    Secret,
    Tls,
    host_of,
    is_loopback,
)

OptionalFile = Annotated[FilePath | None, BeforeValidator(lambda given: given or None)]
"""A file that is there; empty is none."""


class TransportSettings(BaseSettings):
    """How Kafka and gRPC are spoken to; the same names for every service, and for clients."""

    kafka_security_protocol: KafkaProtocol = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as Kafka calls them."""
    kafka_sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    """PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."""
    kafka_username: str = ""
    """The user of SASL."""
    kafka_password: SecretStr = SecretStr("")
    """The password of SASL."""
    kafka_password_file: OptionalFile = None
    """The file with the password, in place of KAFKA_PASSWORD."""
    kafka_token_file: OptionalFile = None
    """OAUTHBEARER: the file with the token, read again at each connection."""
    kafka_token_url: str = ""
    """OAUTHBEARER: the token endpoint that gives tokens for KAFKA_CLIENT_ID; https, or on this machine."""
    kafka_client_id: str = ""
    """The client that the token endpoint knows."""
    kafka_client_secret: SecretStr = SecretStr("")
    """The secret of that client."""
    kafka_client_secret_file: OptionalFile = None
    """The file with that secret, in place of KAFKA_CLIENT_SECRET."""
    kafka_token_scope: str = ""
    """The scope that the token endpoint is asked for."""
    kafka_ca_file: OptionalFile = None
    """The authorities (PEM) that Kafka's certificates may be of; none are those of the machine."""
    tls_cert_file: OptionalFile = None
    """The own certificate with its chain (PEM): gRPC is served by TLS only. Calls present it too."""
    tls_key_file: OptionalFile = None
    """The key of the own certificate (PEM)."""
    tls_ca_file: OptionalFile = None
    """The authorities (PEM) of the gRPC servers that are called, which are then called by TLS only."""
    tls_client_auth: bool = False
    """True answers only callers with a certificate of the authorities."""
    tls_allow_plaintext: bool = False
    """True sends and takes credentials without TLS also beyond this machine, for example in a private network."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse a choice that lacks a part of it."""
        for problem in self._kafka_problems():
            raise ValueError(problem)
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            message = "TLS_CERT_FILE and TLS_KEY_FILE belong together: set both, or none"
            raise ValueError(message)
        if self.tls_client_auth and not (self.tls_cert_file and self.tls_ca_file):
            message = "TLS_CLIENT_AUTH needs TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE: set them, or leave it out"
            raise ValueError(message)
        return self

    def _kafka_problems(self) -> Iterator[str]:
        password = bool(self.kafka_password.get_secret_value())
        if password and self.kafka_password_file:
            yield "KAFKA_PASSWORD and KAFKA_PASSWORD_FILE are both set: set one of them"
        if not self.kafka_security_protocol.startswith("SASL_"):
            return
        if self.kafka_sasl_mechanism != "OAUTHBEARER":
            if not (self.kafka_username and (password or self.kafka_password_file)):
                yield (
                    "KAFKA_SECURITY_PROTOCOL names SASL: set KAFKA_USERNAME and KAFKA_PASSWORD or KAFKA_PASSWORD_FILE"
                )
            return
        secret = bool(self.kafka_client_secret.get_secret_value())
        if bool(self.kafka_token_file) == bool(self.kafka_token_url):
            yield "OAUTHBEARER needs a token: set KAFKA_TOKEN_FILE or KAFKA_TOKEN_URL, one of them"
        if self.kafka_token_url and not (self.kafka_client_id and secret != bool(self.kafka_client_secret_file)):
            yield (
                "KAFKA_TOKEN_URL needs KAFKA_CLIENT_ID and one of KAFKA_CLIENT_SECRET and KAFKA_CLIENT_SECRET_FILE: "
                "set them"
            )
        url = urlsplit(self.kafka_token_url)
        if self.kafka_token_url and url.scheme != "https" and not (url.scheme == "http" and _is_here(url.netloc)):
            yield "KAFKA_TOKEN_URL would get the client's secret in plain text: write an https:// address"

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
            password=Secret(self.kafka_password.get_secret_value(), self.kafka_password_file),
            token=self._kafka_token,
            ca_file=self.kafka_ca_file,
        )

    @property
    def _kafka_token(self) -> Secret | ClientCredentials:
        if not self.kafka_token_url:
            return Secret(file=self.kafka_token_file)
        return ClientCredentials(
            url=self.kafka_token_url,
            client_id=self.kafka_client_id,
            client_secret=Secret(self.kafka_client_secret.get_secret_value(), self.kafka_client_secret_file),
            scope=self.kafka_token_scope,
        )


def _is_here(netloc: str) -> bool:
    return "@" not in netloc and is_loopback(host_of(netloc if netloc.rpartition(":")[2].isdigit() else f"{netloc}:80"))
