"""What answers of a deployment are given of a conversation."""

from dataclasses import dataclass

from tidemill_core.errors import Violation

DEFAULT_TURNS = 20
MAX_TURNS = 100
MAX_HISTORY_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPolicy:
    """The last turns that fit; models that summarise those before them, and that find facts, are named or absent."""

    max_turns: int = DEFAULT_TURNS
    max_history_tokens: int = 0
    """0 is half of what the model takes."""
    summary_model: str = ""
    memory_model: str = ""

    @property
    def has_work(self) -> bool:
        """Whether something is to be done after an answer."""
        return bool(self.summary_model or self.memory_model)

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        found = []
        if not 1 <= self.max_turns <= MAX_TURNS:
            text = f"is {self.max_turns}; use 0 (for {DEFAULT_TURNS}) to {MAX_TURNS}"
            found.append(Violation(f"{path}.max_turns", text))
        if not 0 <= self.max_history_tokens <= MAX_HISTORY_TOKENS:
            text = f"is {self.max_history_tokens}; use 0 (for half of what the model takes) to {MAX_HISTORY_TOKENS}"
            found.append(Violation(f"{path}.max_history_tokens", text))
        return found
