"""A training run as names and values: settings, data, environment, figures and curves."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation
from tidemill.trainer.v1.training_pb2 import LossPoint, TrainingRun, TrainingRunState
from tidemill_cli.output import word

Value: TypeAlias = str | int | float | bool | None
Points: TypeAlias = Sequence[tuple[int, float]]

_OF_DATA = "data."
LOSS, HELD_OUT_LOSS = "loss", "held_out_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What is compared and exported of a run. Names are as TRL and PEFT have them: `args.learning_rate`, `lora.r`."""

    id: str
    plan: str
    state: str
    status: str
    """What the tool that recorded an imported run said of it, as FAILED; "" of others."""
    settings: Mapping[str, Value]
    data: Mapping[str, Value]
    environment: Mapping[str, Value]
    figures: Mapping[str, float]
    curves: Mapping[str, Points]
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    sweep: str = ""
    trial: int = 0
    model_version: str = ""
    reason: str = ""
    start_ms: int = 0
    finish_ms: int = 0
    evaluations: Sequence[Evaluation] = ()


def record_of(run: TrainingRun, *, evaluations: Sequence[Evaluation] = ()) -> RunRecord:
    """Return the record of a run, with the evaluations of the version that came of it."""
    return RunRecord(
        id=run.id,
        plan=run.plan,
        state=word(TrainingRunState, run.state),
        status=run.message if run.source else "",
        settings=_settings(run) if not run.source else _parameters(run, of_data=False),
        data=_data(run) if not run.source else _parameters(run, of_data=True),
        environment=dict(sorted(run.versions.items())),
        figures=_figures(run),
        curves=_curves(run),
        labels=dict(run.labels),
        notes=run.notes,
        sweep=run.sweep,
        trial=run.trial,
        model_version=run.model_version,
        reason=run.reason,
        start_ms=run.start_time.ToMilliseconds(),
        finish_ms=run.finish_time.ToMilliseconds(),
        evaluations=evaluations,
    )


def _settings(run: TrainingRun) -> Mapping[str, Value]:
    recipe = MessageToDict(run.recipe)
    found: dict[str, Value] = {"method": recipe.get("method", "")}
    found |= {name: _value(recipe[name]) for name in ("use_peft", "added_tokens") if name in recipe}
    for group in ("lora", "args"):
        found |= {f"{group}.{name}": _value(value) for name, value in sorted((recipe.get(group) or {}).items())}
    if run.HasField("fit"):
        fit = run.fit
        found |= {
            "fit.per_device_train_batch_size": fit.per_device_train_batch_size,
            "fit.gradient_accumulation_steps": fit.gradient_accumulation_steps,
            "fit.gradient_checkpointing": fit.gradient_checkpointing,
        }
    return found


def _parameters(run: TrainingRun, *, of_data: bool) -> Mapping[str, Value]:
    """Return the parameters of an imported run; those of one that was exported from here are as they were."""
    chosen = {name: value for name, value in run.parameters.items() if name.startswith(_OF_DATA) is of_data}
    return {name.removeprefix(_OF_DATA): _parsed(value) for name, value in sorted(chosen.items())}


def _data(run: TrainingRun) -> Mapping[str, Value]:
    counted = run.HasField("examples")
    return {
        "dataset_version": run.dataset_version,
        "dataset_digest": run.dataset_digest,
        "examples_offered": run.examples.offered if counted else None,
        "examples_fitted": run.examples.fitted if counted else None,
        "base": run.base,
        "base_digest": run.base_digest,
    }


def _figures(run: TrainingRun) -> Mapping[str, float]:
    """Return what is known at the end, or by now."""
    progress, found = run.progress, dict[str, float]()
    if run.source:
        found |= {curve.name: curve.values[-1] for curve in progress.curves if curve.values}
    if progress.HasField("loss"):
        found[LOSS] = progress.loss
    if progress.held_out_losses:
        found[HELD_OUT_LOSS] = progress.held_out_losses[-1].loss
    if progress.accuracy.pairs:
        found["pair_accuracy"] = progress.accuracy.share
    if progress.memorisation.canaries:
        found["canary_exposure_bits"] = progress.memorisation.exposure
    if progress.memorisation.extraction.examples:
        extraction = progress.memorisation.extraction
        found["extracted_share"] = extraction.extracted / extraction.examples
    found["steps"] = progress.step
    if progress.HasField("time"):
        found["computing_s"] = progress.time.ToTimedelta().total_seconds()
    if progress.peak_memory_bytes:
        found["peak_memory_bytes"] = progress.peak_memory_bytes
    if progress.peak_device_memory_bytes:
        found["peak_device_memory_bytes"] = progress.peak_device_memory_bytes
    return found


def _curves(run: TrainingRun) -> Mapping[str, Points]:
    found: dict[str, Points] = {
        LOSS: _points(run.progress.losses),
        HELD_OUT_LOSS: _points(run.progress.held_out_losses),
    }
    for curve in run.progress.curves:
        found[curve.name] = list(zip(curve.steps, curve.values, strict=False))
    return {name: points for name, points in found.items() if points}


def _points(losses: Sequence[LossPoint]) -> Points:
    return [(point.step, point.loss) for point in losses]


def _value(value: Any) -> Value:  # noqa: ANN401 - what a Struct holds
    """Return a setting as it was meant: a Struct has floats only, and a list is shown as text."""
    if isinstance(value, list):
        return ", ".join(str(_value(each)) for each in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parsed(text: str) -> Value:
    """Return a parameter as the number or truth value that it says where its text is the one of it, else as text."""
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError, OverflowError):  # also of more digits than are read
            value = kind(text)
            if str(value) == text and isfinite(value):
                return value
    return text
