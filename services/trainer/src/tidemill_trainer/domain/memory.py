"""How much memory a training needs at the very least: what cannot fit is refused before it starts."""

from dataclasses import dataclass

from tidemill_trainer.domain.recipe import Recipe

RUNTIME_BYTES = 300 * 1024**2
"""What the process takes with its libraries, before any model."""
ADAM_BYTES = 16
"""Of one trained weight: value, gradient and two moments, in float32."""
KEPT_PER_LAYER = 12
"""Hidden states that a layer keeps for the way back, at the very least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
    """What a base's config.json tells, and how many bytes its weights take when they are loaded."""

    weight_bytes: int
    hidden: int
    layers: int
    context: int


def least_bytes(shape: BaseShape, recipe: Recipe, *, tokens: int, number_bytes: int) -> int:
    """Return a lower bound: more is taken in truth, and watched while it runs. Logits are computed in pieces.

    `tokens` is how long an example is at the least, in the mean, `number_bytes` the size of a number of the base.
    """
    rank, batch = int(str(recipe.lora["r"])), int(str(recipe.args["per_device_train_batch_size"]))
    tokens = min(tokens, int(str(recipe.args["max_length"])), shape.context)
    adapter = shape.layers * 2 * shape.hidden * rank * ADAM_BYTES
    kept = 1 if recipe.args["gradient_checkpointing"] else KEPT_PER_LAYER
    activations = shape.layers * batch * tokens * shape.hidden * kept * number_bytes
    return RUNTIME_BYTES + shape.weight_bytes + adapter + activations
