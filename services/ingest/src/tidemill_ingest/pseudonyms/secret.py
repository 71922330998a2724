"""What a project's key is for: tokens and values have keys of their own, derived from it."""

import asyncio
import hmac
import json
from collections.abc import Mapping

from tidemill_core.envelope import Envelope
from tidemill_ingest.errors import PseudonymsUnreadable
from tidemill_kit.store.envelope import EncryptionKeyMissing, EnvelopeBroken, Keyring

_FEW = 500
"""Values that are encrypted sooner than a thread takes over."""


class DerivedSecret:
    """Implements `ports.ProjectSecret`; values are in envelopes of the kit.

    Who has the key of tokens alone can try guesses on pseudonyms, and reads no value.
    """

    def __init__(self, key: bytes) -> None:
        self.tokens_key = _derived(key, b"tokens")
        self._values = Keyring([_derived(key, b"values")])

    async def seal(self, values: Mapping[str, str], *belongs: str) -> Envelope:
        """See `ports.ProjectSecret.seal`."""
        if len(values) < _FEW:
            return self._sealed(values, belongs)
        return await asyncio.to_thread(self._sealed, values, belongs)

    async def open(self, envelope: Envelope, *belongs: str) -> Mapping[str, str]:
        """See `ports.ProjectSecret.open`."""
        try:
            return await asyncio.to_thread(self._opened, envelope, belongs)
        except (EncryptionKeyMissing, EnvelopeBroken):
            raise PseudonymsUnreadable from None

    def _sealed(self, values: Mapping[str, str], belongs: tuple[str, ...]) -> Envelope:
        return self._values.seal(json.dumps(values, ensure_ascii=False).encode(), *belongs)

    def _opened(self, envelope: Envelope, belongs: tuple[str, ...]) -> Mapping[str, str]:
        read: Mapping[str, str] = json.loads(self._values.open(envelope, *belongs))
        return read


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"tidemill pseudonyms " + purpose, "sha256")
