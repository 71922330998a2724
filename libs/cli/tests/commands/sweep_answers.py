"""A sweep that has ended, and services that answer for it."""

from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict

from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1 import sweep_service_pb2 as rpc

SPACE = [
    {"setting": "args.learning_rate", "range": {"low": 1e-5, "high": 1e-2, "log": True}},
    {"setting": "lora.r", "choices": [4, 8]},
]


def sweep(state: pb.SweepState.ValueType = pb.SWEEP_STATE_SUCCEEDED) -> pb.Sweep:
    found = pb.Sweep(
        id="rates",
        plan="helpdesk_lora",
        dataset_version="helpdesk_sft@2",
        base="small@1",
        state=state,
        max_trials=3,
        winner=1,
        run="run-9",
        model_version="helpdesk_lora@3",
        cost=1.25,
        time=Duration(seconds=1800),
    )
    found.budget.price_per_hour = 2.5
    trials = [
        (pb.SWEEP_TRIAL_STATE_MEASURED, [2.0, 1.5], 1e-3, ""),
        (pb.SWEEP_TRIAL_STATE_PRUNED, [2.5], 1e-5, ""),
        (pb.SWEEP_TRIAL_STATE_FAILED, [], 1e-2, "DIVERGED"),
    ]
    for number, (trial_state, losses, rate, reason) in enumerate(trials, start=1):
        trial = found.trials.add(number=number, run=f"run-{number}", state=trial_state, losses=losses, reason=reason)
        trial.settings.update({"args.learning_rate": rate, "lora.r": 8})
    return ParseDict({"space": SPACE}, found)


def _created(request: Any) -> rpc.CreateSweepResponse:  # noqa: ANN401 - as all answers
    created = pb.Sweep()
    created.CopyFrom(request.sweep)
    created.state = pb.SWEEP_STATE_RUNNING
    return rpc.CreateSweepResponse(sweep=created)


SWEEP_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "trainer.v1.sweep_service:CreateSweep": _created,
    "trainer.v1.sweep_service:GetSweep": lambda _: rpc.GetSweepResponse(sweep=sweep()),
    "trainer.v1.sweep_service:ListSweeps": lambda _: rpc.ListSweepsResponse(sweeps=[sweep()]),
    "trainer.v1.sweep_service:CancelSweep": lambda _: rpc.CancelSweepResponse(sweep=sweep(pb.SWEEP_STATE_CANCELLED)),
    "trainer.v1.sweep_service:DeleteSweep": lambda _: rpc.DeleteSweepResponse(sweep=sweep()),
}
