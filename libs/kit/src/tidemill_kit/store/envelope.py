"""Envelope encryption of secrets at rest.

Each value is encrypted by a data key of its own (AES-256-GCM, NIST SP 800-38D), and that by a key of the operator
(AES key wrap, RFC 3394, NIST SP 800-38F). A data key encrypts once, so no nonce is ever used twice with it; key wrap
needs none. What a value belongs to, such as its project, name and version, is authenticated with it: one that is moved
to another place, or an older one in a newer place, does not open there.
"""

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from tidemill_core.envelope import Envelope
from tidemill_core.errors import PreconditionFailed
from tidemill_kit.runtime.encryption import EncryptionSettings
from tidemill_kit.runtime.settings import env_prefix

_KEY_BYTES = 32
_NONCE_BYTES = 12
_MAX_KEYS = 64
_MAX_FILE_BYTES = 16 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class EncryptionKeyMissing(PreconditionFailed):
    """The key that a value was encrypted by is not among those of the settings."""

    reason = "ENCRYPTION_KEY_MISSING"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the key {key_id} that this is encrypted by is not configured: add it to SECRETS_KEY_FILE again, behind "
            "the first one",
            key_id=key_id,
        )


class EnvelopeBroken(PreconditionFailed):
    """What is stored is not what was encrypted here for this place."""

    reason = "ENVELOPE_BROKEN"

    def __init__(self) -> None:
        super().__init__("what is stored is damaged, or belongs elsewhere: set it again")


class EncryptionKeysUnusable(PreconditionFailed):
    """The keys of the settings cannot be used; says which one by its place, and nothing of it."""

    reason = "ENCRYPTION_KEYS_UNUSABLE"


class Keyring:
    """The operator's keys: the first one encrypts, all of them decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys.

        Raises:
            EncryptionKeysUnusable: there is none, one of another length, or one twice.

        """
        for number, key in enumerate(keys, 1):
            if len(key) != _KEY_BYTES:
                message = f"key {number} is not the base64 of {_KEY_BYTES} bytes: make one by `openssl rand -base64 32`"
                raise EncryptionKeysUnusable(message)
        if not 1 <= len(set(keys)) == len(keys) <= _MAX_KEYS:
            message = f"there must be 1 to {_MAX_KEYS} keys, each of them once"
            raise EncryptionKeysUnusable(message)
        self._keys = {_id_of(key): key for key in keys}
        self.first = _id_of(keys[0])
        """The id of the key that encrypts."""
        self._fingerprint_key = hmac.digest(keys[0], b"tidemill fingerprints", "sha256")

    @classmethod
    def of(cls, text: str) -> "Keyring":
        """Read keys, the base64 of 32 bytes each, separated by blanks or lines.

        Raises:
            EncryptionKeysUnusable: as the constructor.

        """
        return cls([_decoded(each) for each in text.split()])

    @classmethod
    def read(cls, path: Path) -> "Keyring":
        """Read the keys of a file, which its owner alone may read.

        Raises:
            EncryptionKeysUnusable: as the constructor, or others may read the file, or it cannot be read.

        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
                    message = f"{path} is no file of keys"
                    raise EncryptionKeysUnusable(message)
                if status.st_mode & _OTHERS:
                    message = f"{path} may be read by others: chmod 600 {path}"
                    raise EncryptionKeysUnusable(message)
                text = file.read(_MAX_FILE_BYTES).decode("ascii", "replace")
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}"
            raise EncryptionKeysUnusable(message) from None
        return cls.of(text)

    def seal(self, value: bytes, *belongs: str) -> Envelope:
        """Return a value encrypted for one place: it opens with the same `belongs` only."""
        key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
        return Envelope(
            key_id=self.first,
            wrapped_key=aes_key_wrap(self._keys[self.first], key),
            nonce=nonce,
            ciphertext=AESGCM(key).encrypt(nonce, value, _joined(belongs)),
        )

    def open(self, envelope: Envelope, *belongs: str) -> bytes:
        """Return the value.

        Raises:
            EncryptionKeyMissing: names the key that is not here.
            EnvelopeBroken: it was changed, or sealed for another place.

        """
        key = self._data_key(envelope)
        try:
            return AESGCM(key).decrypt(envelope.nonce, envelope.ciphertext, _joined(belongs))
        except (InvalidTag, ValueError):
            raise EnvelopeBroken from None

    def rewrap(self, envelope: Envelope) -> Envelope:
        """Return the envelope under the first key; the value is not decrypted for it.

        Raises:
            As `open`, but a wrong place is not noticed.

        """
        if envelope.key_id == self.first:
            return envelope
        wrapped = aes_key_wrap(self._keys[self.first], self._data_key(envelope))
        return replace(envelope, key_id=self.first, wrapped_key=wrapped)

    def fingerprint(self, value: bytes) -> str:
        """Return what recognizes a value again while the first key stays; guesses cannot be tried on it without."""
        return hmac.digest(self._fingerprint_key, value, "sha256").hex()

    def _data_key(self, envelope: Envelope) -> bytes:
        if envelope.key_id not in self._keys:
            raise EncryptionKeyMissing(envelope.key_id)
        try:
            return aes_key_unwrap(self._keys[envelope.key_id], envelope.wrapped_key)
        except (InvalidUnwrap, ValueError):
            raise EnvelopeBroken from None


def keyring_of(settings: EncryptionSettings) -> Keyring | None:
    """Return the keys that the settings name; None where they name none.

    Raises:
        EncryptionKeysUnusable: says which setting, and why.

    """
    file, keys = settings.secrets_key_file, settings.secrets_keys.get_secret_value()
    setting = env_prefix(type(settings)) + ("SECRETS_KEY_FILE" if file else "SECRETS_KEYS")
    try:
        return Keyring.read(file) if file else Keyring.of(keys) if keys.strip() else None
    except EncryptionKeysUnusable as error:
        message = f"{setting}: {error.message}"
        raise EncryptionKeysUnusable(message) from None


def _id_of(key: bytes) -> str:
    """Return the id of a key: of its digest, so that no name can be given to another key."""
    return hashlib.sha256(b"tidemill encryption key " + key).hexdigest()[:16]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _joined(parts: Sequence[str]) -> bytes:
    """Return parts as one, each with its length, so that no two lists of parts become the same."""
    return b"".join(len(each).to_bytes(4) + each for each in (part.encode() for part in parts))
