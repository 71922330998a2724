"""Reactions to answers, which feedback keeps."""

from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A reaction to an answer; exactly one of number, comment and correction is given."""

    inference: str
    metric: str
    number: float | None = None
    comment: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedReaction:
    """A reaction as feedback keeps it."""

    id: str
    state: str
    inference: str
    metric: str
    of_asker: bool
    """Whether the asking user gave it."""


class Reactions(Protocol):
    """feedback's API."""

    async def submit(self, caller: Caller, reaction: Reaction, *, request_id: str) -> SubmittedReaction:
        """Submit a reaction; idempotent by request id.

        Raises:
            InvalidInput: it is invalid.
            NotFound: there is no such inference.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def get(self, caller: Caller, reaction: str) -> SubmittedReaction:
        """Return a submitted reaction.

        Raises:
            NotFound: the project has no such reaction.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def withdraw(self, caller: Caller, reaction: str, *, request_id: str) -> SubmittedReaction:
        """Withdraw a reaction; idempotent.

        Raises:
            NotFound: the project has no such reaction.
            DependencyUnavailable: feedback does not answer.

        """
        ...
