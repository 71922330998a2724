"""Conversations and memories, and what is known of erased documents."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.memory import EndUserMemory
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.inference import State

Conversations = Aggregates[Conversation]
Memories = Aggregates[EndUserMemory]


class AskingFor(Protocol):
    """Models that are asked for a deployment, out of its budgets."""

    async def __call__(  # noqa: PLR0913 - as `Asking`, and for which deployment
        self,
        caller: Caller,
        deployment: str,
        model: str,
        messages: Sequence[Message],
        *,
        max_output_tokens: int,
        timeout_s: float,
    ) -> str:
        """Return what a model says; see `engines.ports.Asking`.

        Raises:
            BudgetExhausted: a budget of the project or the deployment does not have enough left.
            PriceMissing: a budget of money applies, and the model has no price.
            TidemillError: the model or the store does not answer.

        """
        ...


class TurnStates(Protocol):
    """How the answers of turns stand, without what they say."""

    async def __call__(self, project: str, inferences: Collection[str]) -> Mapping[str, State]:
        """Return the states of those of them that have an answer, or will have one."""
        ...


class ErasedDocuments(Protocol):
    """Which documents were erased."""

    async def __call__(self, project: str, documents: Collection[str]) -> Mapping[str, datetime]:
        """Return, of those that were, until when what came of them is not to be kept."""
        ...


class Ended(Protocol):
    """The data of end users, and what rests on a document, for erasing them."""

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> int:
        """Remove conversations of an end user; return how many."""
        ...

    async def resting_on(self, project: str, document: str, *, limit: int) -> tuple[list[str], list[str]]:
        """Return ids of conversations and of memories that have something that rests on a document."""
        ...

    async def older(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> list[str]:
        """Return ids of memories that have facts that did not change since."""
        ...

    async def remove_old(self, project: str, before: datetime, *, deployment: str = "", limit: int) -> int:
        """Remove conversations that nothing was asked in since; return how many."""
        ...
