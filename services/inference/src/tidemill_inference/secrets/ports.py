"""What secrets need: their store, and those of the operator."""

from collections.abc import Collection
from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_inference.secrets.domain.secret import Secret

Secrets = Aggregates[Secret]


class Operators(Protocol):
    """The secrets that the operator configured, which win over those that projects set."""

    async def among(self, project: str, names: Collection[str]) -> frozenset[str]:
        """Return which of these names there are for the project."""
        ...
