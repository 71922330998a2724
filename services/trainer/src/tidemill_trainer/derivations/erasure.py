"""Cancels the derivations of an erased project."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_trainer.derivations.domain import CANCELLABLE
from tidemill_trainer.derivations.errors import DerivationFinished
from tidemill_trainer.derivations.ports import Derivations


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDerivations:
    """Cancels the derivations of a project.

    A worker stops a cancelled one within a second; one that registers a version ends by itself.
    """

    derivations: Derivations
    clock: Clock

    async def __call__(self, project: str) -> None:
        """Cancel those that wait or compute."""
        now = self.clock.now()
        for state in sorted(CANCELLABLE, key=lambda state: state.value):
            async for derivation in list_all(self.derivations, project, where={"state": state.value}):
                with suppress(NotFound, DerivationFinished):
                    await self.derivations.update(
                        project,
                        derivation.id,
                        lambda derivation: derivation.cancel(now=now, message="its project is erased"),
                        request=Request.internal(),
                    )
