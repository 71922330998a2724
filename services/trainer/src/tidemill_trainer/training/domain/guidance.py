"""What decides, beside base and examples, what a run learns."""

from dataclasses import dataclass

from tidemill_trainer.training.domain.rewards import Reward


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """The rewards and the teacher of a recipe; once resolved, each model in them is a `model@version`."""

    rewards: tuple[Reward, ...] = ()
    teacher: str = ""
    authors: tuple[str, ...] = ()
    """Those of all these models: who made them decides what a run learns, and so is an author of it."""
