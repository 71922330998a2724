"""Forget what curations keep of erased feedback."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_feedback.curations.ports import Ledger, Prompts
from tidemill_feedback.reactions.domain.feedback import Feedback


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetExamples:
    """Implements `reactions.ports.ForgetExamples`. Batches are not its business: they are removed whole."""

    ledger: Ledger
    prompts: Prompts

    async def __call__(self, caller: Caller, erased: Sequence[Feedback], end_user: str) -> None:
        """Delete the rows of erased feedback, and the prompts of the end user's questions; idempotent."""
        await self.ledger.forget({each.id: each.seq for each in erased})
        asked = [each for each in erased if each.asked_by == end_user]
        named = [inference for each in asked for inference in (each.inference, each.other) if inference]
        await self.prompts.forget(caller.project, named)
