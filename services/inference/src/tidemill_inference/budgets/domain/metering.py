"""What the attempts of one answer used: each engine call reports it to the meter of the call that it is part of."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from tidemill_core.errors import DependencyTimedOut
from tidemill_inference.prices.domain.price import Used

_BYTES_PER_TOKEN = 3.0
"""By which tokens are estimated that an endpoint does not report; English text has about four."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """What was used so far; `input_tokens` is an estimate, for attempts that do not report theirs."""

    input_tokens: int = 0
    used: list[Used] = field(default_factory=list)


class MachineTime:
    """The time of this machine, divided among those that compute at the same moment (processor sharing).

    What all of them are charged for comes to the time in which any of them computed.
    """

    def __init__(self) -> None:
        self._running = 0
        self._share_s = 0.0
        self._at = 0.0

    @property
    def idle(self) -> bool:
        """Whether none computes."""
        return not self._running

    def begin(self) -> float:
        """Return where one begins."""
        self._advance()
        self._running += 1
        return self._share_s

    def end(self, begun: float) -> float:
        """Return the seconds of the machine since then."""
        self._advance()
        self._running -= 1
        return self._share_s - begun

    def _advance(self) -> None:
        now = time.monotonic()
        if self._running:
            self._share_s += (now - self._at) / self._running
        self._at = now


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One call of an engine while it runs."""

    pieces: int = 0
    size: int = 0
    """Of the answer so far, in bytes."""
    finished: tuple[int, int, int] | None = None
    """Input, output and cached input tokens, as the engine reports them."""
    may_be_charged: bool = False
    """Whether its prompt may cost something, although it has said nothing."""

    def piece(self, *texts: str) -> None:
        """Count more of the answer."""
        self.pieces += 1
        self.size += sum(len(text.encode("utf-8", "replace")) for text in texts)

    def finish(self, input_tokens: int, output_tokens: int, cached_input_tokens: int) -> None:
        """Take what the engine reports of one candidate: all of them have the same input."""
        given, made, cached = self.finished or (0, 0, 0)
        self.finished = max(given, input_tokens), made + output_tokens, max(cached, cached_input_tokens)


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)
_MACHINES: dict[str, MachineTime] = {}
"""Those that compute now, by name."""
HERE = "here"
"""The machine of this process, which computes for all local models."""


@contextmanager
def metering(meter: Meter) -> Iterator[Meter]:
    """Report what the block uses, and the tasks that it starts, to this meter."""
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


@contextmanager
def metered(model: str, machine: str = HERE, *, by_provider: bool = False) -> Iterator[Attempt]:
    """Report a call of an engine to the meter of the answer that it is part of, however it ends.

    A provider may charge the prompt of a call that is left, or given up, before it has said anything.
    """
    meter, attempt, time_of = _METER.get(), Attempt(), _MACHINES.setdefault(machine, MachineTime())
    begun = time_of.begin()
    try:
        yield attempt
    except (asyncio.CancelledError, GeneratorExit, TimeoutError, DependencyTimedOut):
        attempt.may_be_charged = by_provider
        raise
    finally:
        machine_s = time_of.end(begun)
        if time_of.idle:
            _MACHINES.pop(machine, None)
        if meter is not None:
            meter.used.append(_used(model, attempt, machine_s, meter.input_tokens))


def _used(model: str, attempt: Attempt, machine_s: float, input_tokens: int) -> Used:
    if attempt.finished is not None and any(attempt.finished):
        given, made, cached = attempt.finished
        return Used(
            model=model,
            input_tokens=given,
            output_tokens=made,
            cached_input_tokens=min(cached, given),
            machine_s=machine_s,
        )
    if not attempt.pieces and not attempt.may_be_charged:  # refused, or gone before it said anything
        return Used(model=model, machine_s=machine_s, estimated=True)
    made = max(1, math.ceil(attempt.size / _BYTES_PER_TOKEN)) if attempt.pieces else 0
    return Used(model=model, input_tokens=input_tokens, output_tokens=made, machine_s=machine_s, estimated=True)


def estimated_tokens(size: int) -> int:
    """Return about how many tokens a text of so many bytes has."""
    return math.ceil(size / _BYTES_PER_TOKEN)
