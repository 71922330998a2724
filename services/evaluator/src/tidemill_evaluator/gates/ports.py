"""Ports of gates."""

from collections.abc import Awaitable, Callable

from tidemill_core.application import Aggregates
from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_evaluator.gates.domain.spending import SpentLevel

Gates = Aggregates[Gate]
SpentLevels = Aggregates[SpentLevel]
GateChanged = Callable[[Gate], Awaitable[Gate]]
"""Queues the gate's deferred evaluation unless it is paused; returns the updated gate."""
