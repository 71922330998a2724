"""Attempts in progress: of one model, or of two where the second one hedges."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill_core.errors import Blame, DependencyTimedOut, DependencyUnavailable, RateLimited, TidemillError
from tidemill_inference.routing.domain.attempt import ANSWERED, CANCELLED, Attempt, AttemptKind
from tidemill_inference.routing.domain.circuit import Circuit
from tidemill_inference.routing.endpoints import Endpoints
from tidemill_inference.routing.ports import AttemptSuperseded, ObserveRouting, Route


@dataclass(slots=True)
class Race:
    """Which attempt had the first token; that one alone is sent to the caller."""

    winner: asyncio.Task[Any] | None = None
    _decided: asyncio.Event = field(default_factory=asyncio.Event)

    def win(self) -> None:
        """Let the task that runs be the one, unless another is.

        Raises:
            AttemptSuperseded: it is.

        """
        if self.winner is not None:
            raise AttemptSuperseded
        self.winner = asyncio.current_task()
        self._decided.set()

    async def decided(self, tasks: Sequence[asyncio.Task[Any]], *, timeout_s: float | None = None) -> None:
        """Return when there is a winner, or no task runs any more, or the time is over."""
        watch = asyncio.ensure_future(self._decided.wait())
        try:
            while self.winner is None and (running := {each for each in tasks if not each.done()}):
                done, _ = await asyncio.wait({watch, *running}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    return
        finally:
            watch.cancel()


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """Implements `ports.RunningAttempt`."""

    project: str
    model: str
    kind: AttemptKind
    route: Route
    race: Race
    endpoints: Endpoints
    observe: ObserveRouting
    first_token_s: float | None
    patience: asyncio.Timeout = field(init=False)
    started: float
    circuit: Circuit | None = None
    """Set once it has admitted the call."""
    endpoint: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    began: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        """Begin to count."""
        self.patience = asyncio.timeout(self.first_token_s)

    def more(self) -> None:
        """See `RunningAttempt.more`."""
        self.output_tokens += 1
        token_s = self.route.routing.policy.token_timeout_s
        if self.began:
            if token_s is not None:
                self.patience.reschedule(asyncio.get_running_loop().time() + token_s)
            return
        self.race.win()
        self.began = True
        if self.circuit:
            self._change(self.circuit, self.circuit.began)
        self.patience.reschedule(None if token_s is None else asyncio.get_running_loop().time() + token_s)

    def finished(self, *, input_tokens: int, output_tokens: int) -> None:
        """See `RunningAttempt.finished`; an endpoint that reports no tokens leaves those that were estimated."""
        if input_tokens:
            self.input_tokens, self.output_tokens, self.ended = input_tokens, output_tokens, True

    def missed(self) -> str:
        """Return which of its times has passed."""
        if self.began:
            return f"had no next token within {self.route.routing.policy.token_timeout_s:.3g} s"
        return f"had no first token within {self.first_token_s:.3g} s"

    def attempt(self, error: BaseException | None, now: float) -> Attempt:
        """Return what came of it."""
        left = isinstance(error, asyncio.CancelledError | AttemptSuperseded)
        # An endpoint that refused a call, or broke before its first token, charges nothing.
        charged = self.ended or bool(
            self.endpoint and (self.output_tokens or left or isinstance(error, DependencyTimedOut))
        )
        return Attempt(
            model=self.model,
            kind=self.kind,
            outcome=outcome_of(error),
            endpoint=self.endpoint,
            start_s=self.started - self.route.started,
            duration_s=now - self.started,
            input_tokens=self.input_tokens if charged else 0,
            output_tokens=self.output_tokens if charged else 0,
            estimated=charged and not self.ended,
        )

    def judge(self, error: BaseException | None) -> None:
        """Have the circuit count how it ended."""
        circuit, now = self.circuit, self.endpoints.clock()
        if circuit is None:
            return
        if error is None:
            self._change(circuit, circuit.succeeded)
        elif self.endpoint and self._failed(error, now):
            self._change(circuit, lambda: circuit.failed(self, now))
        else:
            circuit.released(self)
            if self.endpoint and isinstance(error, RateLimited):
                circuit.pause(now + error.retry_after_s)

    def _change(self, circuit: Circuit, change: Callable[[], None]) -> None:
        """Change the circuit, and report that it opened or closed."""
        was_open = circuit.is_open
        change()
        if circuit.is_open != was_open:
            self.observe.circuit(self.project, self.model, is_open=circuit.is_open, failures=circuit.failures)

    def _failed(self, error: BaseException, now: float) -> bool:
        """Return whether the endpoint is to blame, also for having said nothing until the answer's deadline."""
        if isinstance(error, asyncio.CancelledError | TimeoutError):
            return not self.began and now >= self.route.deadline
        return isinstance(error, DependencyUnavailable) and error.blame is Blame.VARIANT


def outcome_of(error: BaseException | None) -> str:
    """Return how an attempt ended, in a word."""
    if error is None:
        return ANSWERED
    if isinstance(error, TidemillError):
        return error.reason
    if isinstance(error, TimeoutError):
        return DependencyTimedOut.reason
    return CANCELLED if isinstance(error, asyncio.CancelledError | AttemptSuperseded) else "INTERNAL"
