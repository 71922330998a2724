"""Mapping between messages of the contract and what is searched, of a sweep or of a plan."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1.training_pb2 import PlannedSweep
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import from_message, to_message
from tidemill_trainer.training.domain.search import (
    DEFAULT_HELD_OUT,
    DEFAULT_MEASUREMENTS,
    DEFAULT_TRIALS,
    Budget,
    Dimension,
    Pruning,
    Range,
    Search,
)

_QUOTED = 64


def search_of(message: pb.Sweep | PlannedSweep, *, field: str) -> Search:
    """Return what a request searches, with defaults for unset fields; `field` is the message's place in it.

    Raises:
        InvalidInput: choices hold a number that JSON has not.

    """
    pruning, defaults = message.pruning, Pruning()
    return Search(
        space=tuple(_dimension(each, field=f"{field}.space.choices") for each in message.space),
        max_trials=message.max_trials or DEFAULT_TRIALS,
        max_parallel=message.max_parallel or 1,
        held_out=message.held_out or DEFAULT_HELD_OUT,
        measurements=message.measurements or DEFAULT_MEASUREMENTS,
        pruning=Pruning(
            keep_percent=pruning.keep_percent or defaults.keep_percent,
            startup_trials=pruning.startup_trials or defaults.startup_trials,
            warmup_measurements=pruning.warmup_measurements,
        ),
        budget=from_message(Budget, message.budget, prefix=f"{field}.budget"),
        seed=message.seed,
    )


def search_message(search: Search) -> PlannedSweep:
    """Return the message of what a plan searches."""
    return to_message(PlannedSweep, search, space=[dimension_message(each) for each in search.space])


def _dimension(message: pb.SweepDimension, *, field: str) -> Dimension:
    found = message.range
    try:
        values: Any = MessageToDict(message.choices) if message.HasField("choices") else []
    except ValueError:
        text = f"{message.setting[:_QUOTED]!r} has NaN or Infinity: send finite numbers"
        raise InvalidInput.at(field=field, text=text) from None
    return Dimension(
        setting=message.setting,
        range=Range(low=found.low, high=found.high, log=found.log) if message.HasField("range") else None,
        choices=tuple(tuple(each) if isinstance(each, list) else each for each in values),
    )


def dimension_message(dimension: Dimension) -> pb.SweepDimension:
    """Return the message of one setting."""
    message = pb.SweepDimension(setting=dimension.setting)
    if dimension.range:
        message.range.CopyFrom(to_message(pb.SweepRange, dimension.range))
    choices: tuple[Any, ...] = dimension.choices
    for choice in choices:
        shown: Any = list(choice) if isinstance(choice, tuple) else choice
        message.choices.append(shown)
    return message
