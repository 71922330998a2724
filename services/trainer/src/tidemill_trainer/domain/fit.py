"""How a training fits its memory, and how many of its examples it trains on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_trainer.domain.recipe import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to compute the same step: so many rows at once, so often, every layer kept or computed twice."""

    batch_size: int
    accumulation_steps: int
    checkpointing: bool

    @classmethod
    def of(cls, args: Mapping[str, Value]) -> "Choice":
        """Return what a recipe says."""
        return cls(
            batch_size=int(str(args["per_device_train_batch_size"])),
            accumulation_steps=int(str(args["gradient_accumulation_steps"])),
            checkpointing=bool(args["gradient_checkpointing"]),
        )

    @property
    def args(self) -> Mapping[str, Value]:
        """The settings of trl.SFTConfig that it means."""
        return {
            "per_device_train_batch_size": self.batch_size,
            "gradient_accumulation_steps": self.accumulation_steps,
            "gradient_checkpointing": self.checkpointing,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a run takes: the choice that was made, what it was estimated to need, and what it may take."""

    choice: Choice
    needed_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCounts:
    """What became of the examples of a train part; `fitted` is how many are trained on."""

    offered: int
    fitted: int
    too_long: int = 0
    refused: int = 0
    empty: int = 0

    @property
    def left_out(self) -> float:
        """The share that is not trained on."""
        return 1 - self.fitted / self.offered if self.offered else 0.0

    def described(self, *, max_length: object) -> str:
        """Return the counts in words."""
        why = {
            f"longer than max_length = {max_length} tokens": self.too_long,
            "refused by the chat template of the base": self.refused,
            "without question or answer of text": self.empty,
        }
        parts = [f"{count} {words}" for words, count in why.items() if count]
        return f"{self.fitted} of {self.offered} examples are trained on" + (f"; {', '.join(parts)}" if parts else "")


def choices(recipe: Choice, *, after: Choice | None = None) -> Sequence[Choice]:
    """Return the ways to compute a recipe's step, most memory first, all of the same number of rows in a step.

    Smaller batches come before checkpointing, which computes every layer twice. `after` leaves out what is not smaller
    than a choice that has failed.
    """
    rows = recipe.batch_size * recipe.accumulation_steps
    sizes = [size for size in range(recipe.batch_size, 0, -1) if rows % size == 0]
    ways = sorted({recipe.checkpointing, True})
    found = [
        Choice(batch_size=size, accumulation_steps=rows // size, checkpointing=way) for way in ways for size in sizes
    ]
    return found[found.index(after) + 1 :] if after in found else found
