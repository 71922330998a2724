"""One reaction made an example, and when two of them are the same."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.characters import clean, stream_safe, without_ignorable

_WORDS_END_WITH = frozenset("#%&*@/\\")
"""Punctuation that belongs to a word, as in "C#"."""
_RUN = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedPassage:
    """A passage that the example's prompt shows, by document and number of the version."""

    document: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What decides about an example, and the canonical line that is stored of it."""

    id: str
    end_user: str
    question: str
    answer: str
    passages: tuple[CitedPassage, ...]
    observed_at: datetime
    line: str
    context: str = ""
    """What was said before the question, and given with it, normalised; "" where nothing was."""
    asked_by: str = ""
    """Who asked the question, where that is not the author of the reaction."""
    rejected: str = ""
    """Of a preference: the answer that the other one is preferred to."""
    changed_at: datetime | None = None
    """Since when it is what it is, where a batch says so; in no line: what was learnt from is the same without it."""
    good: bool = True
    """Whether the answer is right, as far as is known; a bad one is learnt from, but is no reference."""

    @property
    def asked(self) -> str:
        """The normalised question with its context: what groups are made by."""
        return f"{self.context}\n{normalised(self.question)}" if self.context else normalised(self.question)

    @property
    def answered(self) -> str:
        """The normalised answer."""
        return normalised(self.answer)


def normalised(text: str) -> str:
    """Return what questions, and answers, are compared by.

    Unicode NFKC, casefold and NFKC again (Unicode standard, section 3.13, D146), every run of white space one space,
    and no white space or punctuation (general category P, but for # % & * @ / and backslash) at either end. A text of
    nothing else keeps its punctuation. Invisible characters do not count.
    """
    seen = stream_safe(without_ignorable(clean(text)))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    whole = " ".join(folded.split())
    start, end = 0, len(whole)
    while start < end and _is_edge(whole[start]):
        start += 1
    while end > start and _is_edge(whole[end - 1]):
        end -= 1
    return whole[start:end] or whole


def group_of(asked: str) -> str:
    """Return the name of a normalised question's group: a digest, so that what is kept for ever holds no text."""
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def words_of(asked: str) -> frozenset[str]:
    """Return the words of a normalised question: two that differ in their order or punctuation alone are one question.

    Symbols, and vowel signs of scripts that write them apart, distinguish questions: "C++" and "C#".
    """
    return frozenset(word for run in _RUN.findall(asked) if (word := _word_in(run)))


def common_answers(pairs: Iterable[tuple[str, str]], common_from: int) -> set[str]:
    """Return the answers that so many questions of different words have: they say nothing of any one question."""
    questions: dict[str, set[frozenset[str]]] = {}
    for asked, answered in pairs:
        questions.setdefault(answered, set()).add(words_of(asked))
    return {answered for answered, different in questions.items() if len(different) >= common_from}


def _word_in(run: str) -> str:
    if run[0].isalnum() or run[0] == "_":
        return run
    return "".join(each for each in run if each in _WORDS_END_WITH or unicodedata.category(each)[0] in "SM")


def _is_edge(character: str) -> bool:
    if character in _WORDS_END_WITH:
        return False
    return character.isspace() or unicodedata.category(character).startswith("P")
