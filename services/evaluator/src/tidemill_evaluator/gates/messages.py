"""Mapping between gates and their messages."""

from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_evaluator.gates.domain import CONFIDENCE, Gate, Requirement
from tidemill_kit.grpc.server import etag_of, timestamp_of


def gate_of(message: pb.Gate, project: str) -> Gate:
    """Return the gate of a request."""
    return Gate(
        id=message.id,
        project=project,
        labels=dict(message.labels),
        deployment=message.deployment,
        candidate=message.candidate,
        confidence=message.confidence or CONFIDENCE,
        require=tuple(
            Requirement(
                suite=each.suite,
                dataset=each.dataset,
                metric=each.metric,
                gain_above=each.gain_above,
                at_least=each.at_least,
            )
            for each in message.require
        ),
        paused=message.paused,
    )


def gate_message(gate: Gate) -> pb.Gate:
    """Return the gate message."""
    return pb.Gate(
        id=gate.id,
        project=gate.project,
        seq=gate.seq,
        etag=etag_of(gate.version),
        labels=gate.labels,
        create_time=timestamp_of(gate.create_time),
        update_time=timestamp_of(gate.update_time),
        deployment=gate.deployment,
        candidate=gate.candidate,
        confidence=gate.confidence,
        require=[_requirement_message(requirement) for requirement in gate.require],
        paused=gate.paused,
    )


def _requirement_message(requirement: Requirement) -> pb.Requirement:
    message = pb.Requirement(
        metric=requirement.metric, gain_above=requirement.gain_above, at_least=requirement.at_least
    )
    if requirement.suite:
        message.suite = requirement.suite
    else:
        message.dataset = requirement.dataset
    return message
