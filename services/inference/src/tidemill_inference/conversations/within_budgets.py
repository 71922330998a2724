"""Ask the models of conversations out of the budgets of project and deployment, at their prices, as answers are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_inference.budgets.ports import Expected, Spending
from tidemill_inference.engines.ports import Asking
from tidemill_inference.generation.domain.content import Message

_MESSAGE_TOKENS = 16
"""Of a chat template around a message, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskWithinBudgets:
    """Implements `ports.AskingFor`. What is asked counts for no subject and no end user: neither has asked for it."""

    ask: Asking
    spending: Spending

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
        """See `AskingFor`."""
        expected = Expected(
            inference="",
            deployment=deployment,
            models=(model,),
            input_bytes=sum(len(message.text.encode("utf-8", "replace")) for message in messages),
            input_tokens=_MESSAGE_TOKENS * (len(messages) + 1),
            output_tokens=max_output_tokens,
            deadline_s=timeout_s,
        )
        async with await self.spending.begin(replace(caller, subject=""), expected):
            return await self.ask(caller, model, messages, max_output_tokens=max_output_tokens, timeout_s=timeout_s)
