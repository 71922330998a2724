"""How many steps a training takes, and what is in one."""

import math
from collections.abc import Mapping
from typing import Any


def steps_of(args: Mapping[str, Any], *, rows: int) -> int:
    """Return the number of steps of a training."""
    if args["max_steps"] > 0:
        return int(args["max_steps"])
    if "num_generations" in args:
        return math.ceil(float(args["num_train_epochs"]) * (rows // prompts_of_step(args)))
    return math.ceil(float(args["num_train_epochs"]) * rows / rows_of_step(args))


def prompts_of_step(args: Mapping[str, Any]) -> int:
    """Return how many prompts a step needs: of a method that generates, all answers to one are in it."""
    return int(rows_of_step(args) // args["num_generations"]) if "num_generations" in args else 1


def rows_of_step(args: Mapping[str, Any]) -> int:
    """Return how many rows a step has: of a method that generates, as many answers."""
    return int(args["per_device_train_batch_size"] * args["gradient_accumulation_steps"])
