"""The days that a text names, in the orders in which dates are written."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_inference.generation.citations.lexicon import MONTHS, SHORT_MONTHS, UNSURE_MONTHS, listed

Day = tuple[int, int]
"""A month and a day of it."""

DATE: Final = re.compile(
    r"\d{4}([./\-])\d{1,2}\1\d{1,2}|\d{1,2}([./\-])\d{1,2}\2(?:\d{4}|\d\d)|\d{1,2}/[12]\d{3}|[12]\d{3}-\d\d"
)
_SEPARATORS = re.compile(r"\D")
_BESIDE_MONTHS = frozenset(
    listed("in of since until till by from to early late mid en de le du au depuis this next last before after")
)
_BY_NAME = {**SHORT_MONTHS, **MONTHS}
ENDINGS: Final = frozenset(listed("st nd rd th er"))
"""Of an ordinal in digits."""
_OF = frozenset(listed("of de del"))
_LAST_MONTH, _LAST_DAY, _YEAR_DIGITS = 12, 31, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The days of a text, each as what it may be, and the numbers that may be the day of a month named elsewhere."""

    named: tuple[frozenset[Day], ...]
    loose: frozenset[int]
    months: frozenset[int]

    def has(self, day: Collection[Day]) -> bool:
        """Return whether one of the days is said, also as the beginning of a range: 3 to 12 March."""
        known = frozenset[Day]().union(*self.named)
        return any(
            each in known or (each[1] in self.loose and each[0] in self.months | {month for month, _ in known})
            for each in day
        )


def days_of(tokens: Sequence[str]) -> Days:
    """Return the days that tokens name."""
    named: list[frozenset[Day]] = []
    used: set[int] = set()
    for at, token in enumerate(tokens):
        if DATE.fullmatch(token):
            used.add(at)
            named += [days] if (days := _in_digits(_SEPARATORS.split(token), token)) else []
        elif is_month(tokens, at) and (place := _day_beside(tokens, at, used)) is not None:
            used.add(place)
            named.append(frozenset({(_BY_NAME[token], int(tokens[place]))}))
    loose = (part for at, token in enumerate(tokens) if at not in used for part in _SEPARATORS.split(token))
    return Days(
        named=tuple(named),
        loose=frozenset(int(part) for part in loose if part and len(part) <= 2),  # noqa: PLR2004 - digits of a day
        months=months_of(tokens),
    )


def months_of(tokens: Sequence[str]) -> frozenset[int]:
    """Return the months that are named."""
    return frozenset(_BY_NAME[token] for at, token in enumerate(tokens) if is_month(tokens, at))


def parts_of(date: str) -> Iterator[frozenset[str]]:
    """Yield the readings of each part of a date in digits; a year of two digits may be one of this century."""
    parts = _SEPARATORS.split(date)
    for at, part in enumerate(parts):
        long = {f"20{part}"} if at == len(parts) - 1 == 2 and len(part) == 2 else set()  # noqa: PLR2004 - d.m.yy
        yield frozenset({str(int(part)), *long})


def is_month(tokens: Sequence[str], at: int) -> bool:
    """Return whether a word is the name of a month there."""
    if tokens[at] not in UNSURE_MONTHS:
        return tokens[at] in MONTHS
    before, after = "".join(tokens[at - 1 : at]), "".join(tokens[at + 1 : at + 2])
    return before in _BESIDE_MONTHS or before in ENDINGS or before[:1].isdecimal() or after[:1].isdecimal()


def _in_digits(parts: Sequence[str], date: str) -> frozenset[Day]:
    if len(parts) < 3:  # noqa: PLR2004 - month and year
        return frozenset()
    numbers = [int(part) for part in parts]
    if len(parts[0]) == _YEAR_DIGITS:
        orders = [(numbers[1], numbers[2])]
    elif "." in date:
        orders = [(numbers[1], numbers[0])]
    else:
        orders = [(numbers[1], numbers[0]), (numbers[0], numbers[1])]
    return frozenset(order for order in orders if order[0] <= _LAST_MONTH and order[1] <= _LAST_DAY)


def _day_beside(tokens: Sequence[str], at: int, used: Collection[int]) -> int | None:
    """Return the place of the day of a month: before it, or behind it."""
    before = at - 1
    for skipped in (_OF, ENDINGS):
        if before >= 0 and tokens[before] in skipped:
            before -= 1
    for place in (before, at + 1):
        if 0 <= place < len(tokens) and place not in used and _is_day(tokens[place]):
            return place
    return None


def _is_day(token: str) -> bool:
    return token.isdecimal() and len(token) <= 2 and 1 <= int(token) <= _LAST_DAY  # noqa: PLR2004 - digits of a day
