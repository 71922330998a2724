"""Mapping between messages of the contract and sweeps."""

from datetime import timedelta

from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill_core.aggregate import Event
from tidemill_kit.mapping import to_message
from tidemill_trainer.sweeps.crud import SweepRequest
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepHasEnded, SweepTrial
from tidemill_trainer.training.search_messages import dimension_message, search_of


def sweep_of(message: pb.Sweep) -> SweepRequest:
    """Return what a request asks for, with defaults for unset fields.

    Raises:
        InvalidInput: choices hold a number that JSON has not.

    """
    search = search_of(message, field="sweep")
    return SweepRequest(
        id=message.id,
        labels=dict(message.labels),
        plan=message.plan,
        dataset_version=message.dataset_version,
        search=search,
    )


def sweep_message(sweep: Sweep) -> pb.Sweep:
    """Return the sweep message."""
    recipe = sweep.start.recipe
    return to_message(
        pb.Sweep,
        sweep,
        dataset_version=sweep.dataset.id,
        space=[dimension_message(each) for each in sweep.space],
        base=sweep.start.base,
        recipe=recipe.declared,
        trials=[_trial_message(sweep, trial) for trial in sweep.trials],
        time=timedelta(seconds=sweep.seconds),
    )


def sweep_event(sweep: Sweep, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    if not isinstance(event, SweepHasEnded):
        raise TypeError(event)
    given = {"sweep": sweep.id, "seq": seq, "dataset_version": sweep.dataset.id, "trials": len(sweep.trials)}
    return "tidemill.trainer.sweep.ended.v1", to_message(events.SweepEnded, sweep, **given)


def _trial_message(sweep: Sweep, trial: SweepTrial) -> pb.SweepTrial:
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in sweep.searched.settings(trial.point).items()
    }
    return to_message(pb.SweepTrial, trial, settings=settings, time=timedelta(seconds=trial.seconds))
