"""What decides, beside base and examples, what a run learns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.domain.steps import rows_of_step, steps_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedJudge:
    """The version of a judge that rewards answers, and how many models are asked about each answer."""

    version: str
    calls_per_answer: int = 1

    def calls_of(self, args: Mapping[str, Any], *, rows: int) -> int:
        """Return how many calls a training with these settings takes at most, if every judgement can be read."""
        return steps_of(args, rows=rows) * rows_of_step(args) * self.calls_per_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """The rewards and the teacher of a recipe; once resolved, each model in them is a `model@version`."""

    rewards: tuple[Reward, ...] = ()
    teacher: str = ""
    authors: tuple[str, ...] = ()
    """Those of all these models: who made them decides what a run learns, and so is an author of it."""
    judge: PinnedJudge | None = None
    """The version of the judge among the rewards, once resolved."""
