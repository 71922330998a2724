"""What routing needs from others, and what it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tidemill_core.application import Caller
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.routing.domain.attempt import Attempt, AttemptKind
from tidemill_inference.routing.domain.policy import Routing

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who may answer one question, and until when; `started` and `deadline` are on time.monotonic()."""

    model: str
    fallback: tuple[str, ...] = ()
    routing: Routing = field(default_factory=Routing)
    affinity: str = ""
    """Names the conversation."""
    started: float
    deadline: float
    attempts: list[Attempt]
    """Gets every attempt at its end, in the order of their start."""
    warnings: list[str]
    """Gets what an answer by a fallback is degraded by."""

    @property
    def models(self) -> Mapping[str, int]:
        """The deployment's model and those that are equal to it, with their weights."""
        return {self.model: self.routing.policy.weight, **self.routing.equals}


class AttemptSuperseded(Exception):
    """Another attempt had its first token before: what this one says is sent nowhere."""


class RunningAttempt(Protocol):
    """What a call reports to, while it runs."""

    model: str
    endpoint: str
    """The class of the endpoint: to be set as soon as the call is sent."""
    input_tokens: int
    output_tokens: int
    """Both estimated, until `finished`."""

    def more(self) -> None:
        """Report a token, the first one before anything is sent to the caller.

        Raises:
            AttemptSuperseded: another attempt had its first token before.

        """
        ...

    def finished(self, *, input_tokens: int, output_tokens: int) -> None:
        """Report the end, with the tokens that the model counted."""
        ...


class Call(Protocol[T_co]):
    """Calls one model, whatever for."""

    async def __call__(self, model: ModelVersion, attempt: RunningAttempt, *, timeout_s: float) -> T_co:
        """Return what came of it. Being cancelled stops the model at once."""
        ...


class Router(Protocol):
    """Has one of several models answer."""

    async def __call__(self, caller: Caller, route: Route, call: Call[T]) -> T:
        """Return what the first model gives that is able to.

        Once a model has reported a token, no other one answers: what fails then, fails.

        Raises:
            ModelNotShared: it belongs to another project, which does not share it any more.
            CircuitOpen: it has failed too often, and is not called for a while.
            TidemillError: what the last model failed with, or what is wrong with the question.

        """
        ...


class ObserveRouting(Protocol):
    """What an operator sees."""

    def attempt(self, project: str, model: str, kind: AttemptKind, outcome: str) -> None:
        """Count an attempt at its end."""
        ...

    def fallback(self, project: str, model: str, reason: str) -> None:
        """Count that another model is asked in place of this one."""
        ...

    def circuit(self, project: str, model: str, *, is_open: bool, failures: int) -> None:
        """Report that a circuit opened or closed."""
        ...

    def forget(self, project: str, model: str) -> None:
        """Keep nothing of a model."""
        ...
