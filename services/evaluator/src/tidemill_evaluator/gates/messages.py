"""Mapping between gates and their messages."""

from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_evaluator.gates.domain.gate import CONFIDENCE, Gate
from tidemill_kit.mapping import from_message


def gate_of(message: pb.Gate, project: str) -> Gate:
    """Return the gate of a request."""
    return from_message(Gate, message, prefix="gate", project=project, confidence=message.confidence or CONFIDENCE)
