"""Remove the items that their project keeps no longer."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_feedback.reactions.ports import Retained
from tidemill_feedback.reviews.erase_items import EraseItems


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOldItems:
    """Goes by what projects say; without that, items stay. Nothing is removed where a legal hold covers something."""

    erase: EraseItems
    retained: Retained
    clock: Clock

    async def __call__(self) -> int:
        """Return how many items were removed."""
        removed = 0
        for project, keep in self.retained.projects().items():
            before, caller = self.clock.now() - keep, Caller.of_service(project, "feedback")
            while not self.retained.spares(project):
                some = await self.erase.before(caller, before)
                if not some:
                    break
                removed += some
        return removed
