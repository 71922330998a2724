"""Records of answers, for charging what processes that died had reserved."""

from dataclasses import dataclass

from tidemill_core.application import Aggregates
from tidemill_inference.budgets.domain.budget import Amounts
from tidemill_inference.budgets.spending import amounts_of
from tidemill_inference.generation.domain.inference import Inference, State


@dataclass(frozen=True, slots=True)
class RecordedSpending:
    """Implements `sweep_holds.EndedRecords`."""

    inferences: Aggregates[Inference]

    async def used(self, project: str, inference: str, hold: str) -> Amounts | None:
        """See `EndedRecords.used`."""
        record = (await self.inferences.get_many(project, [inference])).get(inference) if inference else None
        if record is None or record.state is not State.COMPLETED or record.budget_hold != hold or record.cost is None:
            return None
        return amounts_of(record.cost)
