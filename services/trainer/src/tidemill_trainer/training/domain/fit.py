"""How a training is fitted into its memory limit, and how many examples it uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill_trainer.training.domain.methods import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to compute a step: batch size, accumulation steps and gradient checkpointing."""

    batch_size: int
    accumulation_steps: int
    checkpointing: bool

    @classmethod
    def of(cls, args: Mapping[str, Value]) -> "Choice":
        """Return the recipe's own choice."""
        return cls(
            batch_size=int(str(args["per_device_train_batch_size"])),
            accumulation_steps=int(str(args["gradient_accumulation_steps"])),
            checkpointing=bool(args["gradient_checkpointing"]),
        )

    def among(self, processes: int) -> "Choice | None":
        """Return what each of several processes computes of the same step; None where they cannot divide it."""
        if self.batch_size % processes == 0:
            return replace(self, batch_size=self.batch_size // processes)
        if self.accumulation_steps % processes == 0:
            return replace(self, accumulation_steps=self.accumulation_steps // processes)
        return None

    @property
    def args(self) -> Mapping[str, Value]:
        """The corresponding settings of TRL."""
        return {
            "per_device_train_batch_size": self.batch_size,
            "gradient_accumulation_steps": self.accumulation_steps,
            "gradient_checkpointing": self.checkpointing,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The choice of a run with its estimated memory and its limit."""

    choice: Choice
    needed_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCounts:
    """Counts of used and skipped examples of a train split; `fitted` are used."""

    offered: int
    fitted: int
    too_long: int = 0
    refused: int = 0
    empty: int = 0
    alike: int = 0
    """Preferences whose two answers are the same."""

    @property
    def left_out(self) -> float:
        """Share of skipped examples."""
        return 1 - self.fitted / self.offered if self.offered else 0.0

    def described(self, *, max_length: object) -> str:
        """Return the counts as text."""
        why = {
            f"longer than max_length = {max_length} tokens": self.too_long,
            "rejected by the chat template of the base": self.refused,
            "without a textual question or answer": self.empty,
            "with two answers that are the same": self.alike,
        }
        parts = [f"{count} {words}" for words, count in why.items() if count]
        return f"{self.fitted} of {self.offered} examples are used" + (f"; {', '.join(parts)}" if parts else "")


def choices(recipe: Choice, *, after: Choice | None = None, minimum: int = 1) -> Sequence[Choice]:
    """Return the choices that compute the recipe's step, all with the same effective batch, most memory first.

    Smaller batches, of at least `minimum` rows, come before gradient checkpointing, which computes every layer twice.
    With `after`, only choices smaller than it.
    """
    rows = recipe.batch_size * recipe.accumulation_steps
    sizes = [size for size in range(recipe.batch_size, minimum - 1, -1) if rows % size == 0]
    ways = sorted({recipe.checkpointing, True})
    found = [
        Choice(batch_size=size, accumulation_steps=rows // size, checkpointing=way) for way in ways for size in sizes
    ]
    return found[found.index(after) + 1 :] if after in found else found
