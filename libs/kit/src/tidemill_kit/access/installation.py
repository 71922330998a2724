"""What an installation starts with: the key that its tokens are signed by, its services' tokens, and its admin's.

`python -m tidemill_kit.access.installation FOLDER SERVICE...` writes them. The signing key is made once and kept;
tokens are written anew, for a year, and services read theirs again when it changes: repeat it to renew them.
"""

import argparse
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import JWKRegistry, Key, OKPKey

from tidemill_core.private_files import replace_private
from tidemill_kit.access.tokens import ANY_PROJECT, SERVICE, Claims, public_set, signed

ISSUER = "https://tidemill.local"
"""In whose name tokens are issued: no address, because ports may be others at the next start, and tokens stay."""
ADMIN = "user:local-admin"
LIFETIME_S = 365 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """The files of one folder, which its owner alone may read."""

    folder: Path

    @property
    def signing_keys(self) -> Path:
        """The private keys that monitor signs tokens with."""
        return self.folder / "signing-keys.json"

    @property
    def public_keys(self) -> Path:
        """What services verify tokens by."""
        return self.folder / "keys.json"

    @property
    def admin(self) -> Path:
        """The token of the installation's admin."""
        return self.folder / "admin.token"

    def service(self, name: str) -> Path:
        """Return the file with the token that a service calls others with."""
        return self.folder / f"{name}.token"

    def write(self, services: Iterable[str], *, issuer: str = ISSUER) -> None:
        """Write them all; the signing key only where there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = self._signing_key()
        replace_private(self.public_keys, public_set([key]))
        replace_private(self.admin, _token(key, issuer, ADMIN, roles=frozenset({"installation_admin"})))
        for name in services:
            replace_private(self.service(name), _token(key, issuer, SERVICE + name))

    def _signing_key(self) -> Key:
        if not self.signing_keys.exists():
            key = OKPKey.generate_key("Ed25519", {"alg": "EdDSA", "use": "sig"}, auto_kid=True)
            replace_private(self.signing_keys, json.dumps({"keys": [key.as_dict(private=True)]}).encode())
        return JWKRegistry.import_key(json.loads(self.signing_keys.read_text("utf-8"))["keys"][0])


def _token(key: Key, issuer: str, subject: str, *, roles: frozenset[str] = frozenset()) -> bytes:
    now = time.time()
    claims = Claims(
        issuer=issuer,
        subject=subject,
        project=ANY_PROJECT,
        id=str(uuid.uuid4()),
        issue_time=now,
        expire_time=now + LIFETIME_S,
        roles=roles,
    )
    return signed(claims, key).encode() + b"\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the keys and tokens that an installation starts with.")
    parser.add_argument("folder", type=Path, help="where; its owner alone may read it")
    parser.add_argument("service", nargs="*", help="a service that gets a token, such as ingest")
    given = parser.parse_args()
    AccessFiles(given.folder).write(given.service)
