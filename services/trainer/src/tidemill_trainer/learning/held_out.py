"""The part of the train split that a trial is measured on."""

import math
from collections.abc import Sequence
from random import Random

from tidemill_trainer.learning.examples import AnyRow
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.training.domain.trial import HeldOut


def split(rows: Sequence[AnyRow], held_out: HeldOut, *, minimum: int) -> tuple[list[AnyRow], list[AnyRow]]:
    """Return the rows that are learnt from, at least `minimum`, and those held out; all of a prompt are in one of them.

    Raises:
        TrainingStopped: DATASET_TOO_SMALL.

    """
    prompts = list(dict.fromkeys(map(_prompt, rows)))
    Random(held_out.seed).shuffle(prompts)  # noqa: S311 - no secret
    chosen = set(prompts[: math.ceil(held_out.share * len(prompts))])
    learnt = [row for row in rows if _prompt(row) not in chosen]
    measured = [row for row in rows if _prompt(row) in chosen]
    if len(learnt) < minimum:
        message = (
            f"{len(measured)} of {len(rows)} examples are held out, and {len(learnt)} are left; at least {minimum} are "
            "needed: hold out less, or use a larger dataset version"
        )
        raise TrainingStopped(message, reason="DATASET_TOO_SMALL")
    return learnt, measured


def _prompt(row: AnyRow) -> tuple[int, ...]:
    return tuple(row.tokens[: row.prompt])
