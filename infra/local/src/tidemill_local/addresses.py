"""The addresses of a running stack, read from stack.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tidemill_core.private_files import replace_private


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
