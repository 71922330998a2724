"""Mapping between messages of the contract and sweeps."""

from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import from_message, to_message
from tidemill_trainer.sweeps.crud import SweepRequest
from tidemill_trainer.sweeps.domain.space import LONGEST_NAME, Dimension, Range
from tidemill_trainer.sweeps.domain.sweep import (
    DEFAULT_HELD_OUT,
    DEFAULT_MEASUREMENTS,
    DEFAULT_TRIALS,
    Budget,
    Pruning,
    Sweep,
    SweepHasEnded,
    SweepTrial,
)


def sweep_of(message: pb.Sweep) -> SweepRequest:
    """Return what a request asks for, with defaults for unset fields.

    Raises:
        InvalidInput: choices hold a number that JSON has not.

    """
    pruning, defaults = message.pruning, Pruning()
    return SweepRequest(
        id=message.id,
        labels=dict(message.labels),
        plan=message.plan,
        dataset_version=message.dataset_version,
        space=tuple(map(_dimension, message.space)),
        max_trials=message.max_trials or DEFAULT_TRIALS,
        max_parallel=message.max_parallel or 1,
        held_out=message.held_out or DEFAULT_HELD_OUT,
        measurements=message.measurements or DEFAULT_MEASUREMENTS,
        pruning=Pruning(
            keep_percent=pruning.keep_percent or defaults.keep_percent,
            startup_trials=pruning.startup_trials or defaults.startup_trials,
            warmup_measurements=pruning.warmup_measurements,
        ),
        budget=from_message(Budget, message.budget, prefix="sweep.budget"),
        seed=message.seed,
    )


def sweep_message(sweep: Sweep) -> pb.Sweep:
    """Return the sweep message."""
    recipe = sweep.start.recipe
    return to_message(
        pb.Sweep,
        sweep,
        dataset_version=sweep.dataset.id,
        space=[_dimension_message(each) for each in sweep.space],
        base=sweep.start.base,
        recipe={"method": recipe.method, "lora": recipe.lora, "args": recipe.args},
        trials=[_trial_message(sweep, trial) for trial in sweep.trials],
        time=timedelta(seconds=sweep.seconds),
    )


def sweep_event(sweep: Sweep, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    if not isinstance(event, SweepHasEnded):
        raise TypeError(event)
    given = {"sweep": sweep.id, "seq": seq, "dataset_version": sweep.dataset.id, "trials": len(sweep.trials)}
    return "tidemill.trainer.sweep.ended.v1", to_message(events.SweepEnded, sweep, **given)


def _dimension(message: pb.SweepDimension) -> Dimension:
    found = message.range
    try:
        values: Any = MessageToDict(message.choices) if message.HasField("choices") else []
    except ValueError:
        text = f"{message.setting[:LONGEST_NAME]!r} has NaN or Infinity: send finite numbers"
        raise InvalidInput.at(field="sweep.space.choices", text=text) from None
    return Dimension(
        setting=message.setting,
        range=Range(low=found.low, high=found.high, log=found.log) if message.HasField("range") else None,
        choices=tuple(tuple(each) if isinstance(each, list) else each for each in values),
    )


def _dimension_message(dimension: Dimension) -> pb.SweepDimension:
    message = pb.SweepDimension(setting=dimension.setting)
    if dimension.range:
        message.range.CopyFrom(to_message(pb.SweepRange, dimension.range))
    choices: tuple[Any, ...] = dimension.choices
    for choice in choices:
        shown: Any = list(choice) if isinstance(choice, tuple) else choice
        message.choices.append(shown)
    return message


def _trial_message(sweep: Sweep, trial: SweepTrial) -> pb.SweepTrial:
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in sweep.searched.settings(trial.point).items()
    }
    return to_message(pb.SweepTrial, trial, settings=settings, time=timedelta(seconds=trial.seconds))
