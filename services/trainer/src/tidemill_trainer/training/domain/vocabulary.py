"""The tokens that a plan adds to its base's vocabulary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.errors import Violation

EXTENDED_BY = "sft"
"""The method that adds tokens."""
MIN_CHARACTERS = 2
LONGEST_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyLimits:
    """How many tokens a plan may add, and of how many characters each."""

    tokens: int = 256
    characters: int = 64


DEFAULT_LIMITS = VocabularyLimits()


def vocabulary_violations(tokens: Sequence[str], *, method: str, limits: VocabularyLimits) -> Iterator[Violation]:
    """Yield what breaks the rules for added tokens; whether they are in the vocabulary, only the base knows."""
    field = "plan.added_tokens"
    if tokens and method != EXTENDED_BY:
        text = f"is set; {method[:LONGEST_SHOWN]} keeps the vocabulary of the base: use {EXTENDED_BY}, or leave it out"
        yield Violation(field, text)
    if len(tokens) > limits.tokens:
        text = f"has {len(tokens)} tokens; at most {limits.tokens} are allowed (TRAINER_RUN_MAX_ADDED_TOKENS)"
        yield Violation(field, text)
        return
    seen = set[str]()
    for place, token in enumerate(tokens):
        at, said = f"{field}[{place}]", repr(token[:LONGEST_SHOWN])
        if token.casefold() in seen:
            yield Violation(at, f"is {said}, which is there already but for its case: name it once")
        seen.add(token.casefold())
        if not MIN_CHARACTERS <= len(token) <= limits.characters:
            text = f"is {said}, of {len(token)} characters; it must have {MIN_CHARACTERS} to {limits.characters}"
            yield Violation(at, f"{text} (TRAINER_RUN_MAX_ADDED_TOKEN_CHARACTERS)")
        elif token != token.strip() or not token.isprintable():
            yield Violation(at, f"is {said}; it must be printable text without space at either end")
