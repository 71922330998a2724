"""Who may call a stack: the key that its tokens are signed by, the services' own tokens, and that of its admin."""

import json
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from joserfc.jwk import JWKRegistry, Key, OKPKey

from tidemill_kit.access.tokens import ANY_PROJECT, SERVICE, Claims, public_set, signed
from tidemill_local.addresses import replace_private, write_private
from tidemill_local.places import StackFolder
from tidemill_local.programs import ISSUER

ADMIN = "user:local-admin"
LIFETIME_S = 365 * 24 * 3600.0
"""Of the tokens that each start writes anew."""


def prepare(folder: StackFolder, services: Iterable[str]) -> None:
    """Write what a start needs, all of it readable by its owner only; the signing key is made once and kept."""
    folder.signing_keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _signing_key(folder.signing_keys)
    replace_private(folder.public_keys, public_set([key]).decode())
    _write_token(folder.admin_credential, key, ADMIN, roles=frozenset({"installation_admin"}))
    for service in services:
        _write_token(folder.credential(service), key, SERVICE + service)


def _signing_key(file: Path) -> Key:
    if not file.exists():
        key = OKPKey.generate_key("Ed25519", {"alg": "EdDSA", "use": "sig"}, auto_kid=True)
        write_private(file, {"keys": [key.as_dict(private=True)]})
    first = json.loads(file.read_text("utf-8"))["keys"][0]
    return JWKRegistry.import_key(first)


def _write_token(file: Path, key: Key, subject: str, *, roles: frozenset[str] = frozenset()) -> None:
    now = time.time()
    claims = Claims(
        issuer=ISSUER,
        subject=subject,
        project=ANY_PROJECT,
        id=str(uuid.uuid4()),
        issue_time=now,
        expire_time=now + LIFETIME_S,
        roles=roles,
    )
    replace_private(file, signed(claims, key) + "\n")
