"""Derivations: versions of models that are made of other versions, and waiting for one."""

from collections.abc import AsyncIterator, Callable

from tidemill.trainer.v1.derivation_pb2 import Derivation, DerivationState
from tidemill.trainer.v1.derivation_service_pb2 import (
    CancelDerivationRequest,
    CreateDerivationRequest,
    DeleteDerivationRequest,
    GetDerivationRequest,
    ListDerivationsRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of
from tidemill_client.waiting import poll

PATIENCE_S = 4 * 3600.0
ENDED = frozenset(
    {
        DerivationState.DERIVATION_STATE_SUCCEEDED,
        DerivationState.DERIVATION_STATE_FAILED,
        DerivationState.DERIVATION_STATE_CANCELLED,
    }
)
"""Terminal states."""


class Derivations:
    """The derivations of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, derivation: Derivation, *, request_id: str = "", validate_only: bool = False) -> Derivation:
        """Queue a derivation: `source_version`, the `model` whose version it makes, and a method."""
        request = CreateDerivationRequest(derivation=derivation, request_id=request_id, validate_only=validate_only)
        return (await self._connection.derivations.CreateDerivation(request)).derivation

    async def get(self, derivation: str) -> Derivation:
        """Return a derivation."""
        return (await self._connection.derivations.GetDerivation(GetDerivationRequest(id=derivation))).derivation

    def all(self, *, model: str = "") -> AsyncIterator[Derivation]:
        """Yield the derivations, oldest first."""
        return each(
            self._connection.derivations.ListDerivations,
            ListDerivationsRequest(filter=filter_of(model=model)),
            lambda page: page.derivations,
        )

    async def cancel(self, derivation: str) -> Derivation:
        """Cancel a derivation before it has registered its version."""
        request = CancelDerivationRequest(id=derivation)
        return (await self._connection.derivations.CancelDerivation(request)).derivation

    async def delete(self, derivation: str) -> Derivation:
        """Delete a derivation that has ended; the version that it made stays."""
        request = DeleteDerivationRequest(id=derivation)
        return (await self._connection.derivations.DeleteDerivation(request)).derivation

    async def wait(
        self,
        derivation: str,
        *,
        within_s: float = PATIENCE_S,
        watch: Callable[[Derivation], None] = lambda _derivation: None,
    ) -> Derivation:
        """Wait until a derivation is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the derivation continues.

        """
        return await poll(
            lambda: self.get(derivation),
            lambda found: found.state in ENDED,
            what=f"derivation {derivation}",
            within_s=within_s,
            watch=watch,
        )
