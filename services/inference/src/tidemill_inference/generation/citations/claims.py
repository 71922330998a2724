"""What a sentence claims and a passage does not: a number, a date, a negation, or the lack of one.

Shared words are not enough: "valid for 12 months" has most words of "valid for eleven months". So the sentence's
numbers and dates must be in the passage, in digits or words, and both must be negated, or neither. The comparison is
lexical: it misses antonyms and exchanged roles.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tidemill_inference.generation.citations.lexicon import (
    FUNCTION_WORDS,
    NO_NEGATION,
    language_of,
    negates,
    plain,
    words,
)
from tidemill_inference.generation.citations.measures import SHARES
from tidemill_inference.generation.citations.numbers import Number, Numbers, numbers_of

_CLAUSE_ENDS = re.compile(
    r"[.,;:!?()\u2013\u2014\u3002\u3001\uff01\uff1f]|\n(?=[ \t]{0,8}[\n*\-#])|\b(?:but|aber|sondern|mais|pero|sino)\b"
)
_SENTENCE_ENDS = re.compile(r"[.;!?\u3002\uff01\uff1f]|\n(?=[ \t]{0,8}[\n*\-#])")
_INFLECTION = re.compile(r"(?<=\w{3})(?:e[nrsm]?|s|ly)\Z")
_MIN_WORDS = 3
_SAME_SUBJECT = 0.5
_NEGATING_PREFIXES = {"un": 3, "non": 3, "in": 5, "im": 5, "ir": 5, "il": 5, "dis": 5, "dés": 4, "dé": 5, "de": 6}
"""With the shortest word that they negate: input does not negate put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clause:
    """The words of a clause that say what it is about, and whether it is negated."""

    content: frozenset[str]
    stems: frozenset[str]
    negated: bool


class Claims:
    """The claims of one text."""

    def __init__(self, text: str, *, title: str = "") -> None:
        self._text = text
        self._title = title
        self._numbers: dict[str, Numbers] = {}

    @cached_property
    def language(self) -> str:
        """The language, "" if unknown."""
        return language_of(words(plain(self._text)))

    @cached_property
    def clauses(self) -> Sequence[_Clause]:
        """The clauses that say something."""
        return self._parts(_CLAUSE_ENDS)

    @cached_property
    def scopes(self) -> Sequence[_Clause]:
        """The clauses and the whole sentences: a negation may stand in another clause than what it is about."""
        return [*self.clauses, *self._parts(_SENTENCE_ENDS)]

    def _parts(self, ends: re.Pattern[str]) -> list[_Clause]:
        pieces = _pieces(NO_NEGATION.sub(" ", plain(self._text)), ends)
        return [clause for clause in map(_clause, pieces) if clause.content]

    @cached_property
    def numbers(self) -> Numbers:
        """The numbers and dates, those of the title too."""
        return self._numbers_in(self.language)

    def _numbers_in(self, language: str) -> Numbers:
        if language not in self._numbers:
            text = f"{self._title}\n{self._text}" if self._title else self._text
            self._numbers[language] = numbers_of(text, language)
        return self._numbers[language]

    def beyond(self, passage: "Claims") -> bool:
        """Return whether this sentence says a number, a date or a negation that the passage does not."""
        return self._counts_otherwise(passage) or any(_is_turned(each, passage.scopes) for each in self.clauses)

    @cached_property
    def counted(self) -> "_Counted":
        """The numbers as a passage's are looked up: once for each number of each sentence."""
        return _Counted(self.numbers)

    def _counts_otherwise(self, passage: "Claims") -> bool:
        said, known = self._numbers_in(self.language or passage.language), passage.counted
        if not (said.days.months <= known.months and said.weekdays <= passage.numbers.weekdays):
            return True
        if not all(map(passage.numbers.days.has, said.days.named)):
            return True
        return any(known.lacks(number) or known.has_otherwise(number) for number in said.numbers)


class _Counted:
    """What a passage counts, by the readings of its numbers and by their units."""

    def __init__(self, numbers: Numbers) -> None:
        self.months = numbers.possible_months
        self._percent_apart = numbers.percent_apart
        self._units: dict[str, set[str]] = {}
        self._numbers: dict[str, set[Number]] = {}
        for number in numbers.numbers:
            self._units.setdefault(number.unit, set()).update(number.readings)
            for reading in number.readings:
                self._numbers.setdefault(reading, set()).add(number)
        self._readings = frozenset(self._numbers)
        self._dates = self._readings | {str(month) for month in numbers.days.months}

    def lacks(self, number: Number) -> bool:
        """Return whether the passage has not this number, or another number of the same thing only."""
        if number.sure and number.readings.isdisjoint(self._dates if number.dated else self._readings):
            return True
        return bool(number.unit) and number.unit in self._units and number.readings.isdisjoint(self._units[number.unit])

    def has_otherwise(self, number: Number) -> bool:
        """Return whether the passage has the number in other measures, bounds or orders only: 5 m are not 5 km."""
        found = {each for reading in number.readings for each in self._numbers.get(reading, ())}
        if not number.sure or not found:
            return False
        bounds = {each.bound for each in found}
        orders = {each.ordinal for each in found if each.unit == number.unit}
        return (
            self._is_measured_otherwise(number.measure, {each.measure for each in found})
            or (number.bound != 0 and bounds == {-number.bound})
            or (bool(number.unit) and orders == {not number.ordinal} and number.ordinal is not None)
        )

    def _is_measured_otherwise(self, measure: str, found: set[str]) -> bool:
        if measure in SHARES:
            return measure not in found and not (self._percent_apart and "" in found)
        if found <= SHARES:
            return True
        return bool(measure) and bool(found - {""}) and measure not in found


def _pieces(text: str, ends: re.Pattern[str]) -> list[str]:
    """Return the clauses of a plain text; what is too short to be one belongs to the next."""
    pieces, held = [], ""
    for piece in ends.split(text):
        held = f"{held} {piece}"
        if len(held.split()) >= _MIN_WORDS:
            pieces.append(held)
            held = ""
    return [*pieces, held] if held.strip() else pieces


def _clause(text: str) -> _Clause:
    said = words(text)
    content = frozenset(word for word in said if word not in FUNCTION_WORDS and not negates(word))
    stems = frozenset(_INFLECTION.sub("", word) for word in content)
    return _Clause(content=content, stems=stems, negated=any(map(negates, said)))


def _is_turned(clause: _Clause, passage: Sequence[_Clause]) -> bool:
    """Whether what the passage says of the same thing is all negated where this is not, or the other way round."""
    shares = [(len(clause.content & each.content) / len(clause.content), each) for each in passage]
    best = max((share for share, _ in shares), default=0.0)
    if best < _SAME_SUBJECT:
        return clause.negated and not any(each.negated for each in passage)
    return all(_negated(each, clause) != clause.negated for share, each in shares if share == best)


def _negated(clause: _Clause, other: _Clause) -> bool:
    """Whether a clause is negated as seen from another: 'unpaid' negates where the other says 'paid'."""
    prefixed = _prefixed(clause.stems, other.stems) or _prefixed(other.stems, clause.stems)
    return clause.negated != prefixed


def _prefixed(negating: frozenset[str], words_: frozenset[str]) -> bool:
    return any(
        len(word) >= minimum and f"{prefix}{word}" in negating
        for word in words_ - negating
        for prefix, minimum in _NEGATING_PREFIXES.items()
    )
