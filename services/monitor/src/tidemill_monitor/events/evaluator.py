"""Events of evaluator: evaluations, and runs of harnesses."""

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
    collection: str = ""
    """Whose index version the candidate is; "" where it is none."""
    prompt: str = ""
    """Whose version the candidate is; "" where it is no prompt's."""
    reevaluates: str = ""
    """Of a re-evaluation the evaluation that the live variant passed; "" of every other one."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalMeasure:
    """One metric of searches; bounds are of the difference, or of the only side's mean."""

    metric: str
    questions: int = 0
    baseline: float = 0.0
    candidate: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationEvent:
    """What all events of a retrieval evaluation have; the index 0 is none."""

    evaluation: str
    seq: int
    suite: str = ""
    suite_version: int = 0
    collection: str = ""
    baseline_index: int = 0
    candidate_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationStarted(RetrievalEvaluationEvent):
    """retrieval_evaluation.started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationCompleted(RetrievalEvaluationEvent):
    """retrieval_evaluation.completed."""

    measures: tuple[RetrievalMeasure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationFailed(RetrievalEvaluationEvent):
    """retrieval_evaluation.failed."""

    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRunRecorded:
    """harness_run.recorded."""

    run: str
    seq: int
    tool: str = ""
    tool_version: str = ""
    deployment: str = ""
    configuration: str = ""
    model: str = ""
    state: str = ""
    reason: str = ""
    passed: int = 0
    total: int = 0
    scores: int = 0


TYPES: Mapping[str, type] = {
    "tidemill.evaluator.evaluation.started.v1": EvaluationStarted,
    "tidemill.evaluator.evaluation.completed.v1": EvaluationCompleted,
    "tidemill.evaluator.evaluation.failed.v1": EvaluationFailed,
    "tidemill.evaluator.retrieval_evaluation.started.v1": RetrievalEvaluationStarted,
    "tidemill.evaluator.retrieval_evaluation.completed.v1": RetrievalEvaluationCompleted,
    "tidemill.evaluator.retrieval_evaluation.failed.v1": RetrievalEvaluationFailed,
    "tidemill.evaluator.harness_run.recorded.v1": HarnessRunRecorded,
}
