"""Which days a profile is about."""

from dataclasses import dataclass
from datetime import date, timedelta

from tidemill_core.errors import InvalidInput

DEFAULT_DAYS = 30
MAX_DAYS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A run of days (UTC), both ends included."""

    first: date
    last: date

    @classmethod
    def of(cls, first: str, last: str, *, today: date, field: str) -> "Period":
        """Return the period that a caller names by ISO 8601; the last 30 days where it names none.

        Raises:
            InvalidInput: a day is none, or there are none or too many between them.

        """
        end = _day(last, f"{field}.last_day") if last else today
        begin = _day(first, f"{field}.first_day") if first else _before(end, f"{field}.last_day")
        if not 0 <= (end - begin).days < MAX_DAYS:
            text = f"is {begin}, and the last day {end}: name 1 to {MAX_DAYS} days, the first one first"
            raise InvalidInput.at(field=f"{field}.first_day", text=text)
        return cls(first=begin, last=end)


def _before(end: date, field: str) -> date:
    try:
        return end - timedelta(days=DEFAULT_DAYS - 1)
    except OverflowError as error:
        text = f"is {end}, and {DEFAULT_DAYS} days up to it begin before the first day there is: name a later one"
        raise InvalidInput.at(field=field, text=text) from error


def _day(given: str, field: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        shown = repr(given) if len(given) <= len("2026-11-29") else f"of {len(given)} characters"
        raise InvalidInput.at(field=field, text=f"is {shown}; use a day such as 2026-11-29") from error
