"""What was said before a question in its conversation, as far as an answer is given it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_inference.generation.domain.content import Message, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTurn:
    """One earlier question with its answer, and the inference that has both."""

    inference: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedFact:
    """What an end user has stated before; `revision` counts its corrections."""

    id: str
    text: str
    revision: int = 0

    @property
    def reference(self) -> str:
        """What a record keeps of it."""
        return f"{self.id}@{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryUse:
    """What a record keeps of the history that its answer was given: references, since each text is stored once.

    `summary` is the number of the last turn of the conversation's summary, 0 without one.
    """

    turns: tuple[str, ...] = ()
    summary: int = 0
    memories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Turns, oldest first, the summary of those before them, and what is remembered of the end user."""

    turns: tuple[PastTurn, ...] = ()
    summary: str = ""
    summary_through: int = 0
    memories: tuple[RememberedFact, ...] = ()
    may_be_cut: bool = False
    """Whether the oldest turns are left out where they do not fit the model; else that is an error."""
    max_tokens: int = 0
    """Of its turns, where they may be cut; 0 is half of what the model takes."""
    has_work: bool = False
    """Whether something is to be done in its conversation after the answer."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages of the turns."""
        return tuple(message for turn in self.turns for message in turn.messages)

    @property
    def use(self) -> HistoryUse | None:
        """What a record keeps of it; None where there is nothing."""
        if not (self.turns or self.summary or self.memories):
            return None
        return HistoryUse(
            turns=tuple(turn.inference for turn in self.turns),
            summary=self.summary_through if self.summary else 0,
            memories=tuple(fact.reference for fact in self.memories),
        )

    def last(self, turns: int) -> "History":
        """Return it with the last turns only."""
        return replace(self, turns=self.turns[max(0, len(self.turns) - turns) :] if turns else ()).beginning_whole()

    def beginning_whole(self) -> "History":
        """Return it without first turns that bring results of calls which are not in it."""
        begin = 0
        while begin < len(self.turns) and self.turns[begin].messages[0].role is Role.TOOL:
            begin += 1
        return replace(self, turns=self.turns[begin:]) if begin else self

    def min_turns(self, messages: Sequence[Message]) -> int:
        """Return how many of the last turns these messages cannot do without: those since the question, if they go on.

        They bring results of calls, or have a question of their own.
        """
        if any(message.role is Role.USER for message in messages):
            return 0
        for number, turn in enumerate(reversed(self.turns), start=1):
            if any(message.role is Role.USER for message in turn.messages):
                return number
        return len(self.turns)


NO_HISTORY = History()
