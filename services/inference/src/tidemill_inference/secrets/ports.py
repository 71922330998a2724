"""What secrets need: their store, and what encrypts them."""

from collections.abc import Collection
from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_core.envelope import Envelope
from tidemill_inference.secrets.domain.secret import Secret

Secrets = Aggregates[Secret]


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


class Operators(Protocol):
    """The secrets that the operator configured, which win over those that projects set."""

    async def among(self, project: str, names: Collection[str]) -> frozenset[str]:
        """Return which of these names there are for the project."""
        ...
