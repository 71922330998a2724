"""The numbers and dates of a text, in digits and in words of English, German, French and Spanish.

A number is kept as text in one form (`1400`, `0.7`, `11:30`), so that 3.1 and 3.10, which may be versions, differ.
Where what is written has two readings (1,400 is fourteen hundred, or a bit more than one), a number has both.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_inference.generation.citations.dates import DATE, ENDINGS, Days, days_of, parts_of
from tidemill_inference.generation.citations.lexicon import (
    CONNECTORS,
    FIRSTS,
    FUNCTION_WORDS,
    HUNDREDS,
    LANGUAGES,
    NUMBER_WORDS,
    ORDINALS,
    SCALES,
    UNSURE_NUMBERS,
    WEEKDAYS,
)
from tidemill_inference.generation.citations.measures import (
    AFTERNOON,
    PERCENT,
    SHORT_SCALES,
    behind_range,
    bound_before,
    measure_at,
)
from tidemill_inference.generation.citations.spellings import MINUS, spelled

_TOKEN = re.compile(r"\d+(?:[.,:/'\u00a0\u202f \-]\d+)*|[^\W\d_]+")
_FRENCH_CLOCK = re.compile(r"\b(\d{1,2}) ?h ?(\d{2})\b")
_MERIDIEM = re.compile(r"(?<=\d) ?([ap])(?:m\b|\.m\.)")
_SPACED = re.compile(r"\d{1,3}(?:[ \u00a0\u202f']\d{3})+")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}")
_GROUPED_WITH_DECIMALS = re.compile(
    r"(\d{1,3}(?:(?:,\d{2,3})*,\d{3}(?=\.)|(?:\.\d{3})+(?=,)|(?:[ \u00a0\u202f']\d{3})+))[.,](\d+)"
)
_DECIMAL = re.compile(r"(\d+)[.,](\d+)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_BETWEEN = re.compile(r"[^\d.,:]")
_NOT_DIGIT = re.compile(r"\D")
_LIST_NUMBER = re.compile(r"[\s>*#\-]{0,20}\d{1,3}[.)]\s")
_GERMAN_PAIR = re.compile(r"(\w+?)und(\w+?zig|drei(?:ß|ss)ig)")
_GERMAN_ENDING = re.compile(r"(?:ste[nrsm]?|mal|fach)\Z")
_GERMAN_ORDINAL = re.compile(r"ste[nrsm]?\Z")
_LONGEST_GERMAN = 60
_LONGEST_NUMBER = 100
_UNIT_STEM = 4
_MONTHS, _NOON, _TWENTY, _HUNDRED, _SCALE_FROM = 12, 12, 20, 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number: its readings, any of which it is, the beginning of the word behind it, its unit, and its measure.

    `sure` is False for a 1 in words, which may be an article; `dated` is True for a part of a date in digits. `bound`
    is what `bound_before` says, `ordinal` None where it may be one or not.
    """

    readings: frozenset[str]
    unit: str = ""
    measure: str = ""
    bound: int = 0
    ordinal: bool | None = None
    sure: bool = True
    dated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a text has of numbers and dates."""

    numbers: tuple[Number, ...]
    days: Days
    weekdays: frozenset[int]
    percent_apart: bool
    """Whether percent stands without a number, as in the header of a column."""

    @property
    def readings(self) -> frozenset[str]:
        """Every reading of every number."""
        return frozenset(reading for each in self.numbers for reading in each.readings)

    @property
    def possible_months(self) -> frozenset[int]:
        """The months in words, and what may be one in a date in digits."""
        dated = {int(each) for number in self.numbers if number.dated for each in number.readings}
        return self.days.months | {each for each in dated if each <= _MONTHS}


def numbers_of(text: str, language: str) -> Numbers:
    """Return the numbers of a text without the number of a list's item; language "" reads words in all of them."""
    clocked = _MERIDIEM.sub(r" \1meridiem", _FRENCH_CLOCK.sub(r"\1:\2", spelled(text)))
    listed = _LIST_NUMBER.match(clocked)
    tokens = _TOKEN.findall(clocked, listed.end() if listed else 0)
    languages = [language] if language else LANGUAGES
    words = (each for said in languages for each in _in_words(tokens, said, certain=bool(language)))
    return Numbers(
        numbers=(*_in_digits(tokens), *words),
        days=days_of(tokens),
        weekdays=frozenset(
            WEEKDAYS[each] for token in tokens for each in (token, token.removesuffix("s")) if each in WEEKDAYS
        ),
        percent_apart=any(
            token == PERCENT and not (at and tokens[at - 1][0].isdecimal()) for at, token in enumerate(tokens)
        ),
    )


def _counted(
    tokens: Sequence[str], span: tuple[int, int], readings: frozenset[str], *, ordinal: bool | None, sure: bool = True
) -> Number:
    """Return the number of some tokens with what the words beside it say of it."""
    start, end = span
    if ordinal is None and "".join(tokens[end : end + 1]) in ENDINGS:
        ordinal, end = True, end + 1
    end = behind_range(tokens, end)
    token = tokens[end] if end < len(tokens) else ""
    known = token not in FUNCTION_WORDS and not token[:1].isdecimal()
    measure = measure_at(tokens, end, before=start - 1)
    return Number(
        readings=_signed(tokens, start, _measured(readings, measure)),
        unit=token[:_UNIT_STEM] if known else "",
        measure=measure,
        bound=bound_before(tokens, start),
        ordinal=ordinal,
        sure=sure,
    )


def _signed(tokens: Sequence[str], at: int, readings: frozenset[str]) -> frozenset[str]:
    return frozenset(f"-{each}" for each in readings) if at and tokens[at - 1] == MINUS else readings


def _measured(readings: frozenset[str], measure: str) -> frozenset[str]:
    """Return what a number may be as well where it measures something: 2.50 euro are 2.5, 5:30 p.m. is 17:30."""
    if measure == AFTERNOON:
        hours = ((each, *each.partition(":")) for each in readings if each.partition(":")[0].isdecimal())
        later = {f"{int(hour) + _NOON}{colon}{rest}" for _, hour, colon, rest in hours if len(hour) <= 2}  # noqa: PLR2004
        return readings | {each for each in later if int(each.partition(":")[0]) < 2 * _NOON}
    return readings | {each.rstrip("0").rstrip(".") for each in readings if measure and "." in each}


def _in_digits(tokens: Sequence[str]) -> Iterator[Number]:
    for at, token in enumerate(tokens):
        if not token[0].isdecimal():
            continue
        if DATE.fullmatch(token):
            yield from (Number(readings=part, dated=True) for part in parts_of(token))
            continue
        if _SPACED.fullmatch(token):
            earlier: list[str] = []
            readings = _scaled(_NOT_DIGIT.sub("", token), tokens, at)
        elif _GROUPED_WITH_DECIMALS.fullmatch(token):
            earlier, readings = [], _scaled(token, tokens, at)
        else:
            *earlier, last = filter(None, _BETWEEN.split(token))
            readings = _scaled(last, tokens, at)
        number = _counted(tokens, (at, at + 1), readings, ordinal=None)
        if earlier:
            number = Number(readings=readings, unit=number.unit, measure=number.measure, bound=number.bound)
            signed = _signed(tokens, at, _readings(earlier[0]))
            yield from (
                Number(readings=each, measure=number.measure) for each in (signed, *map(_readings, earlier[1:]))
            )
        yield number


def _readings(written: str) -> frozenset[str]:
    """Return how a number in digits may be read."""
    if written.isdecimal():
        return frozenset({_whole(written)})
    if both := _GROUPED_WITH_DECIMALS.fullmatch(written):
        whole = _whole(_NOT_DIGIT.sub("", both[1]))
        return frozenset({f"{whole}.{both[2]}", *([] if both[2].strip("0") else [whole])})
    found = {written.replace(",", ".")}
    if _GROUPED.fullmatch(written):
        found.add(_whole(_NOT_DIGIT.sub("", written)))
    if decimal := _DECIMAL.fullmatch(written):
        found |= {f"{_whole(decimal[1])}.{decimal[2]}", f"{_whole(decimal[1])}:{decimal[2]}"}
        found |= set() if decimal[2].strip("0") else {_whole(decimal[1])}
    if clock := _CLOCK.fullmatch(written):
        found = {f"{int(clock[1])}:{clock[2]}", *(() if int(clock[2]) else (str(int(clock[1])),))}
    return frozenset(found)


def _whole(written: str) -> str:
    """Return a whole number in its one form; what is too long to be one stays as it is."""
    return str(int(written)) if len(written) <= _LONGEST_NUMBER else written


def _scaled(written: str, tokens: Sequence[str], at: int) -> frozenset[str]:
    """Return a number, as the thousands or millions that the word behind it makes of it."""
    readings = _readings(written)
    following = tokens[at + 1] if at + 1 < len(tokens) else ""
    scales = {scales[following] for scales in (*SCALES.values(), SHORT_SCALES) if following in scales}
    numbers = [each for each in readings if len(each) <= _LONGEST_NUMBER and each.replace(".", "", 1).isdecimal()]
    scaled = frozenset(f"{float(each) * scale:.0f}" for each in numbers for scale in scales)
    unsure = following in SHORT_SCALES or following in UNSURE_NUMBERS
    return scaled if scaled and not unsure else readings | scaled


def _in_words(tokens: Sequence[str], language: str, *, certain: bool) -> Iterator[Number]:
    """Yield the numbers in words of a language; `certain` is whether the text is known to be in it."""
    unsure = FIRSTS[language] if certain else FIRSTS[language] | UNSURE_NUMBERS
    at = 0
    while at < len(tokens):
        value, end = _number_at(tokens, at, language)
        scaling = at > 0 and tokens[at - 1][0].isdecimal() and tokens[at] in SCALES[language]
        if value is not None and not scaling:  # 2 million is one number, read by its digits
            sure = end - at > 1 or tokens[at] not in unsure
            ordinal = _is_ordinal(tokens[end - 1], language) if sure else None
            yield _counted(tokens, (at, end), frozenset({str(value)}), ordinal=ordinal, sure=sure)
        at = max(end, at + 1)


def _is_ordinal(token: str, language: str) -> bool:
    return (
        token in ORDINALS[language]
        or token in FIRSTS[language]
        or (language == "de" and _GERMAN_ORDINAL.search(token) is not None)
    )


def _number_at(tokens: Sequence[str], at: int, language: str) -> tuple[int | None, int]:
    """Return the number whose words begin here, and where they end."""
    value = _value(tokens[at], language)
    if value is None:
        return None, at
    total, current, at = (0, value, at + 1) if value < _SCALE_FROM else (value, 0, at + 1)
    while at < len(tokens):
        token = tokens[at]
        skipped = int(token in CONNECTORS and at + 1 < len(tokens))
        following = _value(tokens[at + skipped], language)
        if not skipped and 0 < current < _HUNDRED and token in HUNDREDS[language]:
            current *= _HUNDRED
        elif not skipped and token in SCALES[language] and current:
            total, current = total + current * SCALES[language][token], 0
        elif language == "fr" and current % _HUNDRED == 4 and token in {"vingt", "vingts"}:  # noqa: PLR2004 - 4 x 20
            current += 76
        elif following is not None and _continues(current, following, total=total, language=language):
            current += following
            at += skipped
        else:
            break
        at += 1
    return total + current, at


def _continues(current: int, following: int, *, total: int, language: str) -> bool:
    """Whether two numbers are one: twenty nine is, nine twenty is not."""
    rest = current % _HUNDRED
    if rest == 0:
        return following < _HUNDRED and (current > 0 or total > 0)
    if language == "fr" and rest in {60, 80}:
        return following < _TWENTY
    return rest >= _TWENTY and rest % 10 == 0 and 0 < following < 10  # noqa: PLR2004 - the units


def _value(token: str, language: str) -> int | None:
    if token in FIRSTS[language]:
        return 1
    if token in HUNDREDS[language]:
        return None if token.endswith("s") else _HUNDRED
    if token in SCALES[language]:
        return None if token.endswith(("s", "en")) else SCALES[language][token]
    found = NUMBER_WORDS[language].get(token)
    return _german(token) if found is None and language == "de" else found


def _german(word: str) -> int | None:
    """Return what a compound such as zweitausenddreihundertneunundzwanzig says."""
    if word == "ein":
        return 1
    if len(word) > _LONGEST_GERMAN:
        return None
    if (known := NUMBER_WORDS["de"].get(word)) is not None:
        return known
    for name, scale in (("tausend", _SCALE_FROM), ("hundert", _HUNDRED)):
        head, found, tail = word.partition(name)
        if found:
            times = _german(head) if head else 1
            rest = _german(tail.removeprefix("und")) if tail else 0
            return None if times is None or rest is None else times * scale + rest
    if pair := _GERMAN_PAIR.fullmatch(word):
        unit, ten = _german(pair[1]), NUMBER_WORDS["de"].get(pair[2])
        return None if unit is None or ten is None else unit + ten
    stem = _GERMAN_ENDING.sub("", word)
    return _german(stem) if stem and stem != word else None
