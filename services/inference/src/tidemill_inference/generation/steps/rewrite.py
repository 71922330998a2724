"""The question as it would be asked without the turns before it, and in other words, by a model.

Passages are searched with what comes of it.
"""

import re
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
_VARY = (
    "Write {} questions that ask what the user's last message asks, each in other words and on a line of its own. Each "
    "can be understood without the conversation: replace words such as it, they, there and that by what they stand "
    "for. Say nothing else."
)
_VARIED = (
    "When did Mrs Berg start to lead the archive?",
    "Since when has Mrs Berg been head of the archive?",
    "In which year did Mrs Berg take over the archive?",
    "How long has Mrs Berg run the archive?",
    "What was Mrs Berg's first day as the archive's leader?",
    "On what date was Mrs Berg appointed to lead the archive?",
)
_NUMBERED = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s+")
_PREFIXES = ("Rewritten question:", "Question:", "User:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What a model made of a question."""

    question: str = ""
    """What stands for the last message alone; "" where that stands for itself."""
    variants: tuple[str, ...] = ()
    """The same in other words."""
    why_not: str = ""
    """What to warn of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Rewrites where a question has turns before it, or variants are asked for, in one call of the model.

    What fails, or is slow, is a warning and no error.
    """

    ask: Asking
    timeout_s: float

    async def __call__(  # noqa: PLR0913 - keyword-only
        self, caller: Caller, model: str, question: Question, *, turns: int, timeout_s: float, variants: int = 0
    ) -> Rewritten:
        """Return the question without what was said before it, and up to so many variants of it.

        `turns` is how many of the last user messages count, as for a search without rewriting.
        """
        earlier = _earlier(question, turns)
        count = bool(earlier) + variants
        if not count:
            return Rewritten()
        said = "\n".join([*earlier, f"User: {question.text[:MAX_EARLIER_CHARACTERS]}"])
        messages = (*_instructions(count if variants else 0), Message.of(Role.USER, said))
        try:
            text = await self.ask(
                caller,
                model,
                messages,
                max_output_tokens=_MAX_TOKENS * count,
                timeout_s=min(self.timeout_s, timeout_s),
            )
        except TidemillError as error:
            why = f"the question was not rewritten for the search: model {model} failed ({error.reason})"
            return Rewritten(why_not=why)
        lines = _lines(text)[:count]
        if not lines:
            return Rewritten(why_not=f"the question was not rewritten for the search: model {model} gave no question")
        return Rewritten(question=lines[0] if earlier else "", variants=tuple(lines[bool(earlier) :]))


def _instructions(variants: int) -> Sequence[Message]:
    """Return the instructions of the model: to write so many variants, or for 0 the question alone."""
    if not variants:
        return (Message.of(Role.SYSTEM, _INSTRUCTION), *_EXAMPLE)
    asked, _ = _EXAMPLE
    return (
        Message.of(Role.SYSTEM, _VARY.format(variants)),
        asked,
        Message.of(Role.ASSISTANT, "\n".join(_VARIED[:variants])),
    )


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


def _lines(text: str) -> list[str]:
    """Return the questions that a model gave, a line each and none twice, without numbers and quotes."""
    found = list[str]()
    for line in text.splitlines():
        question = _NUMBERED.sub("", line).strip()
        for prefix in _PREFIXES:
            question = question.removeprefix(prefix).strip()
        found.append(question.strip("\"'` ")[:_MAX_CHARACTERS])
    return list(dict.fromkeys(question for question in found if question))
