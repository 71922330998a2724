"""What an installation starts with: the keys that tokens are signed by and secrets encrypted, and its first tokens.

`python -m tidemill_kit.access.installation FOLDER SERVICE...` writes them. The signing key, by which monitor issues
tokens, is made once and kept. What is written here is signed by a key of its own, which each run makes anew: repeat it
to renew these tokens, and services take the earlier ones no more as soon as they have read the public keys again.
"""

import argparse
import base64
import json
import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import JWKRegistry, Key, OKPKey

from tidemill_core.private_files import replace_private
from tidemill_kit.access.tokens import ANY_PROJECT, AUDIENCE, EVENTS, SERVICE, Claims, public_set, signed

ISSUER = "https://tidemill.local"
"""In whose name tokens are issued: no address, because ports may be others at the next start, and tokens stay."""
ADMIN = "user:local-admin"
MAX_DAYS = 365
_DAY_S = 24 * 3600.0
_REPLACED = "installation-"
"""How the ids of keys begin that the next run replaces."""


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """The files of one folder, which its owner alone may read."""

    folder: Path

    @property
    def signing_keys(self) -> Path:
        """The private keys: the first is monitor's, to sign tokens with; the last has signed those of this folder."""
        return self.folder / "signing-keys.json"

    @property
    def public_keys(self) -> Path:
        """What services verify tokens by."""
        return self.folder / "keys.json"

    @property
    def admin(self) -> Path:
        """The token of the installation's admin."""
        return self.folder / "admin.token"

    @property
    def secret_keys(self) -> Path:
        """What secrets are encrypted by: made once and kept, because without it no secret can be read."""
        return self.folder / "secrets.keys"

    @property
    def publisher(self) -> Path:
        """The key that signs submissions of every project, and its certificate, as publishers read it.

        It is signed by the key that is kept: what is published today may be consumed after the next run.
        """
        return self.folder / "publisher.json"

    def service(self, name: str) -> Path:
        """Return the file with the token that a service calls others with."""
        return self.folder / f"{name}.token"

    def write(self, services: Iterable[str], *, issuer: str = ISSUER, days: int = MAX_DAYS) -> None:
        """Write them all; earlier tokens of this folder count no more where its public keys have been read again."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.secret_keys.exists():
            replace_private(self.secret_keys, base64.b64encode(os.urandom(32)) + b"\n")
        kept, fresh = self._kept_keys(), _key(_REPLACED + uuid.uuid4().hex)
        keys = [*(kept or [_key()]), fresh]
        private = {"keys": [key.as_dict(private=True) for key in keys]}
        replace_private(self.signing_keys, json.dumps(private).encode())
        replace_private(self.public_keys, public_set(keys))
        lifetime_s = days * _DAY_S
        admin = _token(fresh, issuer, ADMIN, lifetime_s=lifetime_s, roles=frozenset({"installation_admin"}))
        replace_private(self.admin, admin)
        replace_private(self.publisher, _publisher(keys[0], issuer, lifetime_s=lifetime_s))
        for name in services:
            replace_private(self.service(name), _token(fresh, issuer, SERVICE + name, lifetime_s=lifetime_s))

    def _kept_keys(self) -> list[Key]:
        if not self.signing_keys.exists():
            return []
        keys = map(JWKRegistry.import_key, json.loads(self.signing_keys.read_text("utf-8"))["keys"])
        return [key for key in keys if not str(key.kid or "").startswith(_REPLACED)]


def _key(kid: str = "") -> Key:
    key = OKPKey.generate_key("Ed25519", {"alg": "EdDSA", "use": "sig"}, auto_kid=True)
    return JWKRegistry.import_key(key.as_dict(private=True) | {"kid": kid}) if kid else key


def _token(key: Key, issuer: str, subject: str, *, lifetime_s: float, roles: frozenset[str] = frozenset()) -> bytes:
    return signed(_claims(issuer, subject, lifetime_s=lifetime_s, roles=roles), key).encode() + b"\n"


def _publisher(key: Key, issuer: str, *, lifetime_s: float) -> bytes:
    """Return a new key for signing submissions, with its certificate, in the form of the SDK's `Publisher`."""
    made = OKPKey.generate_key("Ed25519").as_dict(private=True)
    admin = frozenset({"installation_admin"})
    claims = _claims(issuer, ADMIN, lifetime_s=lifetime_s, roles=admin, public_key=str(made["x"]))
    certificate = signed(claims, key, audience=AUDIENCE + EVENTS)
    return json.dumps({"certificate": certificate, "private_key": made["d"]}, indent=2).encode() + b"\n"


def _claims(
    issuer: str, subject: str, *, lifetime_s: float, roles: frozenset[str] = frozenset(), public_key: str = ""
) -> Claims:
    now = time.time()
    return Claims(
        issuer=issuer,
        subject=subject,
        project=ANY_PROJECT,
        id=str(uuid.uuid4()),
        issue_time=now,
        expire_time=now + lifetime_s,
        roles=roles,
        public_key=public_key,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the keys and tokens that an installation starts with.")
    parser.add_argument("folder", type=Path, help="where; its owner alone may read it")
    parser.add_argument("service", nargs="*", help="a service that gets a token, such as ingest")
    parser.add_argument("--days", type=int, default=MAX_DAYS, choices=range(1, MAX_DAYS + 1), metavar="DAYS")
    given = parser.parse_args()
    AccessFiles(given.folder).write(given.service, days=given.days)
