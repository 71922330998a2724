"""Sign CloudEvents for Kafka, so that ingest and feedback know who published them.

    publisher = Publisher.read(Path("shop.publisher.json"))  # of `tidemill keys create ... --publisher`
    headers |= publisher.headers(value, headers)

The extra `publishing` brings what it needs: `pip install tidemill[publishing]`.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidemill_core.signed_events import ID, PUBLISHER, SIGNATURE, TIMESTAMP, VERSION, signed_text


@dataclass(frozen=True)
class Publisher:
    """A private key, and the certificate that monitor issued for it."""

    certificate: str = field(repr=False)
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the publisher of a file, which its owner alone may read."""
        found = json.loads(path.read_bytes())
        return cls(found["certificate"], Ed25519PrivateKey.from_private_bytes(_bytes(found["private_key"])))

    @classmethod
    def generate(cls, certificate: str = "") -> Self:
        """Return one with a new key; its certificate is issued for `public_key`."""
        return cls(certificate, Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> str:
        """What monitor issues the certificate for."""
        return _text(self.key.public_key().public_bytes_raw())

    def file(self) -> bytes:
        """Return what `read` reads: a secret."""
        private = _text(self.key.private_bytes_raw())
        return json.dumps({"certificate": self.certificate, "private_key": private}, indent=2).encode()

    def headers(self, value: bytes, headers: Mapping[str, str], *, now: float | None = None) -> dict[str, str]:
        """Return the headers that sign an event in binary mode; `headers` are its others, `ce_id` among them.

        `now` is the time of a record that is not published at once, in seconds since 1970.
        """
        attributes = {name.removeprefix("ce_"): text for name, text in headers.items()}
        stamp = str(int(time.time() if now is None else now))
        signature = self.key.sign(signed_text(attributes["id"], stamp, value, attributes))
        return {
            ID: attributes["id"],
            TIMESTAMP: stamp,
            SIGNATURE: f"{VERSION},{base64.b64encode(signature).decode()}",
            PUBLISHER: self.certificate,
        }


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
