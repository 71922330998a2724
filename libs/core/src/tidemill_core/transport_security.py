"""Who is on the other side of a connection, and that no third party reads it: TLS and SASL, of Kafka and of gRPC.

Certificates and keys are PEM files, read when a process starts: restart it to use new ones. Passwords and tokens in
files are read again at each connection, or for each client.
"""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Literal

import grpc

from tidemill_core.errors import DependencyUnavailable, PreconditionFailed

KafkaProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
_MAX_SECRET_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, or the file that it stands in, which is read whenever the secret is needed."""

    text: str = field(default="", repr=False)
    file: Path | None = None

    def __bool__(self) -> bool:
        """Return whether there is one."""
        return bool(self.text or self.file)

    def read(self) -> str:
        """Return it.

        Raises:
            SecretUnreadable: its file cannot be read, is empty, or far too long.

        """
        if self.file is None:
            return self.text
        try:
            with self.file.open("rb") as file:
                text = file.read(_MAX_SECRET_BYTES + 1).decode().strip()
        except (OSError, ValueError) as error:
            raise SecretUnreadable(self.file, type(error).__name__) from None
        if not text or len(text) > _MAX_SECRET_BYTES:
            raise SecretUnreadable(self.file, "it is empty" if not text else f"it exceeds {_MAX_SECRET_BYTES} bytes")
        return text


class SecretUnreadable(DependencyUnavailable):
    """A file with a secret is not there, or has none."""

    reason = "SECRET_UNREADABLE"

    def __init__(self, file: Path, why: str) -> None:
        message = f"the secret in {file} cannot be read ({why}): write it there, for the service's user to read"
        super().__init__(message, dependency="secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What a token endpoint gives tokens for (OAuth 2.0, client credentials)."""

    url: str
    client_id: str
    client_secret: Secret
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaServers:
    """Where Kafka is and how it is spoken to."""

    bootstrap: str
    protocol: KafkaProtocol = "PLAINTEXT"
    mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str = ""
    password: Secret = Secret()
    token: Secret | ClientCredentials = Secret()
    """Of OAUTHBEARER: the token itself, or how to get one."""
    ca_file: Path | None = None

    @classmethod
    def of(cls, servers: "KafkaServers | str") -> "KafkaServers":
        """Return the servers; a mere address is spoken to in plain text."""
        return servers if isinstance(servers, KafkaServers) else cls(bootstrap=servers)

    @property
    def sasl(self) -> bool:
        """Whether a client says who it is."""
        return self.protocol.startswith("SASL_")

    @property
    def principal(self) -> str:
        """Whom the servers take the client for, as far as that is known here."""
        if not self.sasl:
            return "User:ANONYMOUS"
        return "the token's subject" if self.mechanism == "OAUTHBEARER" else f"User:{self.username}"

    @property
    def exposes_secret(self) -> bool:
        """Whether the password or token itself would be readable on a network; SCRAM sends neither."""
        if self.protocol != "SASL_PLAINTEXT" or self.mechanism.startswith("SCRAM"):
            return False
        return not all(is_loopback(host_of(each.strip())) for each in self.bootstrap.split(","))

    def ssl_context(self) -> SSLContext | None:
        """Return what checks the servers' certificates, None for plain text."""
        return create_default_context(cafile=self.ca_file) if self.protocol.endswith("SSL") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS of gRPC, in both directions; without files, plain text."""

    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    client_auth: bool = False
    allow_plaintext: bool = False
    """True sends credentials also without TLS, and beyond this machine."""

    def check_confidential(self, address: str) -> None:
        """Let a credential go to an address only by TLS, or on this machine, unless `allow_plaintext` says more.

        Raises:
            PlaintextRefused: it would be readable on the way.

        """
        if self.ca_file is None and not self.allow_plaintext and not is_loopback(host_of(address)):
            raise PlaintextRefused(address)

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


class PlaintextRefused(PreconditionFailed):
    """A credential would go over a network in plain text."""

    reason = "PLAINTEXT_REFUSED"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"a credential would be sent to {address} in plain text: set <SERVICE>_TLS_CA_FILE (of clients: "
            "TIDEMILL_TLS_CA_FILE) to the authorities of its certificate, or, where the network is private, "
            "..._TLS_ALLOW_PLAINTEXT=true"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(address: str) -> str:
    """Return the host of `host:port` or `[address]:port`."""
    return address.rpartition(":")[0].strip("[]")
