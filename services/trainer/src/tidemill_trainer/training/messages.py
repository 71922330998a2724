"""Mapping between messages and plans and runs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.trainer.v1 import training_pb2 as pb
from tidemill_core.errors import InvalidInput, Violation
from tidemill_kit.grpc.server import etag_of, timestamp_of
from tidemill_trainer.training.domain.fit import ExampleCounts, Fit
from tidemill_trainer.training.domain.plan import DEFAULT_TIME, PlanSettings, RunLimits, TrainingPlan
from tidemill_trainer.training.domain.run import Progress, RunState, TrainingRun

STATES = {
    RunState.QUEUED: pb.TRAINING_RUN_STATE_QUEUED,
    RunState.RUNNING: pb.TRAINING_RUN_STATE_RUNNING,
    RunState.REGISTERING: pb.TRAINING_RUN_STATE_REGISTERING,
    RunState.SUCCEEDED: pb.TRAINING_RUN_STATE_SUCCEEDED,
    RunState.FAILED: pb.TRAINING_RUN_STATE_FAILED,
    RunState.CANCELLED: pb.TRAINING_RUN_STATE_CANCELLED,
}

FAR_S = 10**10
"""Above any time limit; a Duration may exceed the range of timedelta."""


def settings_of(message: pb.TrainingPlan) -> PlanSettings:
    """Return the plan's settings from a request, with defaults for unset fields.

    Raises:
        InvalidInput: lora or args hold a number that JSON has not.

    """
    limits = message.limits
    time = _time_of(limits.time) if limits.HasField("time") else DEFAULT_TIME
    return PlanSettings(
        dataset=message.dataset,
        base=message.base,
        method=message.method,
        lora=_settings_in(message.lora, field="plan.lora"),
        args=_settings_in(message.args, field="plan.args"),
        limits=RunLimits(time=time, memory_bytes=limits.memory_bytes, memory_auto=limits.memory_auto),
        paused=message.paused,
        labels=dict(message.labels),
    )


def plan_message(plan: TrainingPlan) -> pb.TrainingPlan:
    """Return the plan message."""
    settings = plan.settings
    return pb.TrainingPlan(
        id=plan.id,
        project=plan.project,
        seq=plan.seq,
        etag=etag_of(plan.version),
        labels=plan.labels,
        create_time=timestamp_of(plan.create_time),
        update_time=timestamp_of(plan.update_time),
        dataset=settings.dataset,
        base=settings.base,
        method=settings.method,
        lora=_struct(settings.lora),
        args=_struct(settings.args),
        limits=pb.TrainingLimits(
            time=_duration(settings.limits.time),
            memory_bytes=settings.limits.memory_bytes,
            memory_auto=settings.limits.memory_auto,
        ),
        paused=settings.paused,
    )


def run_message(run: TrainingRun) -> pb.TrainingRun:
    """Return the run message."""
    recipe = run.recipe
    return pb.TrainingRun(
        id=run.id,
        project=run.project,
        seq=run.seq,
        etag=etag_of(run.version),
        labels=run.labels,
        create_time=timestamp_of(run.create_time),
        update_time=timestamp_of(run.update_time),
        plan=run.plan,
        dataset_version=run.dataset.id,
        base=run.base,
        state=STATES[run.state],
        progress=_progress(run.progress),
        reason=run.reason,
        message=run.message,
        model_version=run.model_version,
        recipe=_struct({"method": recipe.method, "lora": dict(_plain(recipe.lora)), "args": dict(_plain(recipe.args))}),
        versions=run.versions,
        attempt=run.attempt,
        start_time=timestamp_of(run.start_time),
        finish_time=timestamp_of(run.finish_time),
        fit=fit_message(run.fit),
        examples=examples_message(run.examples),
        warnings=run.warnings,
    )


def _progress(progress: Progress) -> pb.TrainingProgress:
    left = progress.remaining_s
    return pb.TrainingProgress(
        step=progress.step,
        steps=progress.steps,
        loss=progress.loss,
        remaining=None if left is None else _duration(timedelta(seconds=left)),
        losses=[pb.LossPoint(step=point.step, loss=point.loss) for point in progress.losses],
    )


def _time_of(duration: Duration) -> timedelta:
    seconds = max(-FAR_S, min(FAR_S, duration.seconds))
    return timedelta(seconds=seconds, microseconds=duration.nanos // 1000)


def _settings_in(struct: Struct, *, field: str) -> Mapping[str, object]:
    try:
        return MessageToDict(struct)
    except ValueError as error:
        description = "contains NaN or Infinity: send finite numbers"
        raise InvalidInput.of(Violation(field=field, description=description)) from error


def _duration(time: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(time)
    return duration


def _plain(settings: Mapping[str, object]) -> Mapping[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _struct(settings: Mapping[str, object]) -> Struct:
    return ParseDict(dict(settings), Struct())


def fit_message(fit: Fit | None) -> pb.TrainingFit | None:
    """Return the fit message."""
    if fit is None:
        return None
    return pb.TrainingFit(
        per_device_train_batch_size=fit.choice.batch_size,
        gradient_accumulation_steps=fit.choice.accumulation_steps,
        gradient_checkpointing=fit.choice.checkpointing,
        needed_bytes=fit.needed_bytes,
        limit_bytes=fit.limit_bytes,
    )


def examples_message(counts: ExampleCounts | None) -> pb.TrainingExamples | None:
    """Return the example counts message."""
    return pb.TrainingExamples(**asdict(counts)) if counts else None
