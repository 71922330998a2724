"""A secret as it is stored: what aggregates hold of it, encrypted by `tidemill_kit.store.envelope`."""

from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.aggregate import Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One encrypted value."""

    key_id: str
    """Which of the operator's keys its data key is wrapped by."""
    wrapped_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Encrypted(Aggregate):
    """An aggregate with an encrypted value."""

    envelope: Envelope | None = None
    """None where there is no value, also after its deletion."""


class Seals(Protocol):
    """Encrypts values; the operator's keys."""

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""

    def seal(self, value: bytes, *belongs: str) -> Envelope:
        """Return a value encrypted for what it belongs to."""

    def open(self, envelope: Envelope, *belongs: str) -> bytes:
        """Return the value.

        Raises:
            PreconditionFailed: its key is missing, or it does not belong there.

        """

    def rewrap(self, envelope: Envelope) -> Envelope:
        """Return it under the first key.

        Raises:
            PreconditionFailed: its key is missing.

        """

    def fingerprint(self, value: bytes) -> str:
        """Return what recognizes a value again; guesses cannot be tried on it without the key."""
