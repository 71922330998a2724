"""Stored form of gates, and of what is spent of their levels."""

from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_evaluator.gates.domain.spending import SpentLevel
from tidemill_kit.mapping import DocumentCodec, Form

GATES = DocumentCodec(Gate, {Gate: Form(renames={"deferred_evaluation": "owed"})})
"""`owed` is what gates that are stored already call it."""
SPENT_LEVELS = DocumentCodec(SpentLevel)
GATE_LISTS = (("candidate",), ("collection",), ("candidate_prompt",), ("deployment",))
"""By what events find the gates that they concern."""
