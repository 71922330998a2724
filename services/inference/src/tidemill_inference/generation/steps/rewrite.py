"""The question as it would be asked without the turns before it, by a model: what passages are searched with."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import TidemillError
from tidemill_inference.engines.ports import Asking
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.question import MAX_EARLIER_CHARACTERS, Question

_MAX_TOKENS = 64
_MAX_CHARACTERS = 500
_INSTRUCTION = (
    "Rewrite the user's last message as one question that can be understood without the conversation. Replace words "
    "such as it, they, there and that by what they stand for. Say nothing else. If it can be understood alone, repeat "
    "it."
)
_EXAMPLE = (
    Message.of(Role.USER, "User: Who leads the archive?\nAssistant: Mrs Berg.\nUser: When did she start?"),
    Message.of(Role.ASSISTANT, "When did Mrs Berg start to lead the archive?"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Rewrites where a question has turns before it; what fails, or is slow, is a warning and no error."""

    ask: Asking
    timeout_s: float

    async def __call__(
        self, caller: Caller, model: str, question: Question, *, turns: int, timeout_s: float
    ) -> tuple[str, str]:
        """Return the rewritten question, and what to warn of where there is none: "" for both without earlier turns.

        `turns` is how many of the last user messages count, as for a search without rewriting.
        """
        earlier = _earlier(question, turns)
        if not earlier:
            return "", ""
        said = "\n".join([*earlier, f"User: {question.text[:MAX_EARLIER_CHARACTERS]}"])
        messages = (Message.of(Role.SYSTEM, _INSTRUCTION), *_EXAMPLE, Message.of(Role.USER, said))
        try:
            text = await self.ask(
                caller, model, messages, max_output_tokens=_MAX_TOKENS, timeout_s=min(self.timeout_s, timeout_s)
            )
        except TidemillError as error:
            return "", f"the question was not rewritten for the search: model {model} failed ({error.reason})"
        if rewritten := _line(text):
            return rewritten, ""
        return "", f"the question was not rewritten for the search: model {model} gave no question"


def _earlier(question: Question, turns: int) -> Sequence[str]:
    """Return the turns before a question from the user's message on that is `turns` back, a line each."""
    asked = [*question.history.messages, *question.messages[:-1]]
    users = [number for number, message in enumerate(asked) if message.role is Role.USER]
    if not users:
        return ()
    names = {Role.USER: "User", Role.ASSISTANT: "Assistant"}
    return [
        f"{names[message.role]}: {' '.join(message.text.split())[:MAX_EARLIER_CHARACTERS]}"
        for message in asked[users[-max(1, turns - 1) :][0] :]
        if message.role in names and message.text.strip()
    ]


def _line(text: str) -> str:
    """Return the question that a model gave: its first line, without quotes; "" where that is none."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for prefix in ("Rewritten question:", "Question:", "User:"):
        first = first.removeprefix(prefix).strip()
    return first.strip("\"'` ")[:_MAX_CHARACTERS]
