"""Stored form and events of an evaluation."""

from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill.evaluator.v1 import events_pb2 as events
from tidemill_core.aggregate import Event, ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Latencies, Verdict
from tidemill_evaluator.evaluations.domain.evaluation import (
    UNFINISHED,
    Comparing,
    Evaluation,
    EvaluationHasCompleted,
    EvaluationHasFailed,
    EvaluationHasStarted,
    State,
)
from tidemill_evaluator.gates.domain import Requirement
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.pending import PendingDocuments

VERDICTS = {
    None: pb.VERDICT_UNSPECIFIED,
    Verdict.PASSED: pb.VERDICT_PASSED,
    Verdict.FAILED: pb.VERDICT_FAILED,
    Verdict.NONE: pb.VERDICT_NONE,
}

EVALUATION_TOPIC = "tidemill.evaluator.evaluation.v1"
_PLAIN = (
    "gate",
    "candidate",
    "origin",
    "attempt",
    "asked_by",
    "dataset_version",
    "baseline",
    "baseline_configuration",
    "answered",
    "remaining_s",
    "reason",
    "message",
    "finish_time",
    "epoch",
)


class EvaluationCodec:
    """Evaluation <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Evaluation) -> Document:
        """Return the state."""
        comparing = aggregate.comparing
        return {name: getattr(aggregate, name) for name in _PLAIN} | {
            "comparing": asdict(comparing)
            | {"suites": list(comparing.suites), "require": [asdict(each) for each in comparing.require]},
            "state": aggregate.state.value,
            "case_sets": [asdict(each) for each in aggregate.case_sets],
            "comparisons": [asdict(each) for each in aggregate.comparisons],
            "verdict": aggregate.verdict.value if aggregate.verdict else None,
            "latencies": asdict(aggregate.latencies) if aggregate.latencies else None,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Evaluation:  # noqa: ARG002 - one so far
        """Return the evaluation."""
        comparing: dict[str, Any] = state["comparing"]
        require = tuple(Requirement(**each) for each in comparing["require"])
        return Evaluation(
            **identity.fields(),
            **{name: state[name] for name in _PLAIN},
            comparing=Comparing(**(comparing | {"suites": tuple(comparing["suites"]), "require": require})),
            state=State(state["state"]),
            case_sets=tuple(
                CaseSet(**(each | {"content": ObjectRef(**each["content"])})) for each in state["case_sets"]
            ),
            comparisons=tuple(Comparison(**each) for each in state["comparisons"]),
            verdict=Verdict(state["verdict"]) if state["verdict"] else None,
            latencies=Latencies(**latencies) if (latencies := state.get("latencies")) else None,
        )

    def event(self, aggregate: Evaluation, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        about: dict[str, Any] = {
            "evaluation": aggregate.id,
            "seq": seq,
            "gate": aggregate.gate,
            "deployment": aggregate.comparing.deployment,
            "candidate": aggregate.candidate,
            "baseline": aggregate.baseline,
            "baseline_configuration": aggregate.baseline_configuration,
        }
        match event:
            case EvaluationHasStarted():
                started = events.EvaluationStarted(**about, dataset_version=aggregate.dataset_version)
                return "tidemill.evaluator.evaluation.started.v1", started
            case EvaluationHasCompleted():
                evidence = [pb.Comparison(**asdict(comparison)) for comparison in aggregate.comparisons]
                completed = events.EvaluationCompleted(
                    **about, verdict=VERDICTS[aggregate.verdict], comparisons=evidence
                )
                return "tidemill.evaluator.evaluation.completed.v1", completed
            case EvaluationHasFailed():
                failed = events.EvaluationFailed(**about, reason=aggregate.reason, message=aggregate.message)
                return "tidemill.evaluator.evaluation.failed.v1", failed
            case _:
                raise TypeError(event)


def unfinished_evaluations(evaluations: Collection) -> PendingDocuments[ResourceKey]:
    """Find the evaluations that are not finished."""
    return PendingDocuments(
        evaluations,
        {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False},
        index="state.state",
        key=lambda project, evaluation: ResourceKey(project=project, id=evaluation),
    )
