"""Stored form of gates."""

from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_kit.mapping import DocumentCodec, Form

GATES = DocumentCodec(Gate, {Gate: Form(renames={"deferred_evaluation": "owed"})})
"""`owed` is what gates that are stored already call it."""
