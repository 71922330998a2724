"""The addresses of a running stack, read from stack.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tidemill_core.private_files import replace_private
from tidemill_core.transport_security import KafkaServers, Secret
from tidemill_kit.events.passwords import PasswordFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStoreAddress:
    """Where the S3 server is, and the keys that it knows."""

    endpoint: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where each server and service of a stack listens; `services` maps name -> port name ("grpc", ...) -> address."""

    kafka: str
    mongo: str
    s3: ObjectStoreAddress
    services: Mapping[str, Mapping[str, str]]
    credential_file: str = ""
    """The token of the stack's admin."""
    kafka_passwords: str = ""
    """The folder with the passwords of Kafka's users; empty where Kafka asks for none."""

    def kafka_servers(self, user: str) -> KafkaServers:
        """Return Kafka as one of the stack's users speaks to it, for example `tidemill-tools`."""
        if not self.kafka_passwords:
            return KafkaServers(bootstrap=self.kafka)
        password = Secret(file=PasswordFiles(Path(self.kafka_passwords)).file(user))
        return KafkaServers(bootstrap=self.kafka, protocol="SASL_PLAINTEXT", username=user, password=password)

    def kafka_settings(self, user: str) -> dict[str, str]:
        """Return the settings, by their names without the prefix, of a service that is one of these users."""
        servers = self.kafka_servers(user)
        bootstrap = {"KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap}
        if not servers.sasl:
            return bootstrap
        security = {"KAFKA_SECURITY_PROTOCOL": servers.protocol, "KAFKA_SASL_MECHANISM": servers.mechanism}
        return bootstrap | security | {"KAFKA_USERNAME": user, "KAFKA_PASSWORD_FILE": str(servers.password.file)}

    @classmethod
    def read(cls, path: Path) -> "Addresses":
        """Read a stack.json."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**document, "s3": ObjectStoreAddress(**document["s3"])})

    def write(self, path: Path) -> None:
        """Write a stack.json at once, for its owner's eyes only: it holds the keys of the S3 server."""
        write_private(path, asdict(self))


def write_private(path: Path, document: object) -> None:
    """Replace a JSON file that only its owner may read; a reader sees the old one or the new one."""
    replace_private(path, f"{json.dumps(document, indent=2)}\n".encode())
