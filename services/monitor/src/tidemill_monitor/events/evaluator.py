"""Events of evaluator: evaluations."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference of one metric on one set of cases."""

    case_set: str
    metric: str
    cases: int = 0
    baseline: float = 0.0
    candidate: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    required: bool = False
    gain_above: float = 0.0
    holds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationEvent:
    """What all events of an evaluation have."""

    evaluation: str
    seq: int
    gate: str = ""
    deployment: str = ""
    candidate: str = ""
    baseline: str = ""
    baseline_configuration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationStarted(EvaluationEvent):
    """evaluation.started."""

    dataset_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCompleted(EvaluationEvent):
    """evaluation.completed."""

    verdict: str = ""
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFailed(EvaluationEvent):
    """evaluation.failed."""

    reason: str = ""
    message: str = ""


TYPES: Mapping[str, type] = {
    "tidemill.evaluator.evaluation.started.v1": EvaluationStarted,
    "tidemill.evaluator.evaluation.completed.v1": EvaluationCompleted,
    "tidemill.evaluator.evaluation.failed.v1": EvaluationFailed,
}
