"""Ports of gates."""

from collections.abc import Awaitable, Callable

from tidemill_core.application import Aggregates
from tidemill_evaluator.gates.domain import CandidateGates, Gate

Gates = Aggregates[Gate]
GatesOfCandidates = Aggregates[CandidateGates]
GateChanged = Callable[[Gate], Awaitable[Gate]]
"""Queues the gate's deferred evaluation unless it is paused; returns the updated gate."""
