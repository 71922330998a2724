"""What tests of evaluator are made of: callers, requests, cases, gates."""

from dataclasses import fields

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.resources import Write
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import Passage
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_kit.store.aggregates import Identity

ADA = Caller(project="acme", subject="ada")
BUCKET = "evaluator"
DATASETS = "datasets"
BASE, TUNED = "smollm2@1", "lora@1"
DIGEST = "d1"
DEADLINE_S = 60.0


def write(request_id: str = "", *, etag: str = "", validate_only: bool = False) -> Write:
    return Write(request=request(request_id), etag=etag, validate_only=validate_only)


def request(request_id: str = "") -> Request:
    return Request.of(request_id, request_id.encode())


def cases(count: int = 3, *, prefix: str = "") -> list[Case]:
    """Return cases c1, c2, ..., whose answers are numbers."""
    return [
        Case(id=f"c{number}", question=f"{prefix}what is {number}?", reference=f"it is number {number}")
        for number in range(1, count + 1)
    ]


def name_of(evaluation: Evaluation) -> ResourceKey:
    return ResourceKey(project=evaluation.project, id=evaluation.id)


def gate_of(
    *require: Requirement, name: str = "gate", candidate: str = "lora", paused: bool = False, project: str = "acme"
) -> Gate:
    return Gate(
        id=name,
        project=project,
        deployment="helpdesk",
        candidate=candidate,
        require=require or (Requirement(suite="truth", metric="rouge_l"),),
        paused=paused,
    )


def example(case: Case) -> curation_pb2.Example:
    """Return the example of a case in ingest's format."""
    output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.Part(text=case.reference)])
    return curation_pb2.Example(id=case.id, question=case.question, output=output, end_user="ada")


def passage(text: str = "each number is different") -> Passage:
    return Passage(id="1", document="doc", version=2, start=0, end=len(text), text=text, score=0.9, title="Numbers")


def identity(aggregate: Aggregate) -> Identity:
    """Return what its document says of an aggregate beside its state."""
    return Identity(**{each.name: getattr(aggregate, each.name) for each in fields(Identity)})
