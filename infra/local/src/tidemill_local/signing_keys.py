"""The key that monitor of a stack signs tokens with: made at the first start, and kept."""

from pathlib import Path

from joserfc.jwk import OKPKey

from tidemill_local.addresses import write_private


def ensure(file: Path) -> None:
    """Write a private Ed25519 key as a JSON Web Key Set that its owner alone may read, unless there is one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        key = OKPKey.generate_key("Ed25519", {"alg": "EdDSA", "use": "sig"}, auto_kid=True)
        write_private(file, {"keys": [key.as_dict(private=True)]})
