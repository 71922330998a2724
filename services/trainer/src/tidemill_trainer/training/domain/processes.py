"""How several processes compute one training: each a part of every step's rows, which stay those of one process."""

from collections.abc import Iterator

from tidemill_core.errors import Violation
from tidemill_trainer.training.domain.fit import Choice
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.recipe import Recipe, min_batch_size


def process_violations(processes: int, recipe: Recipe, *, maximum: int) -> Iterator[Violation]:
    """Yield why so many processes cannot compute a recipe together."""
    field = "plan.processes"
    if not 1 <= processes <= maximum:
        yield Violation(field, f"is {processes}; it must be 1 to {maximum} (TRAINER_RUN_MAX_PROCESSES)")
    elif processes > 1 and not METHODS[recipe.method].divides:
        yield Violation(field, f"is {processes}; {recipe.method} has one process: use 1")
    elif (why := undivided(processes, recipe)) is not None:
        yield Violation(field, f"is {processes}; {why}")


def undivided(processes: int, recipe: Recipe) -> str | None:
    """Return why so many processes cannot divide a step of a recipe; None where they can."""
    own = Choice.of(recipe.args)
    minimum = min_batch_size(recipe.method, recipe.args)
    part = own.among(processes)
    if minimum > 1 and processes > 1 and own.batch_size % (processes * minimum):
        return (
            f"{recipe.method} compares the rows of a batch: per_device_train_batch_size = {own.batch_size} must be a "
            f"multiple of {processes * minimum}"
        )
    if part is None:
        return (
            f"it must divide per_device_train_batch_size = {own.batch_size} or gradient_accumulation_steps = "
            f"{own.accumulation_steps}: the rows of a step stay the same"
        )
    return None
