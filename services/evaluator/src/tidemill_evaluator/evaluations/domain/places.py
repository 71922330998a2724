"""Where a page of results ends that are ordered by a number: its token."""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tidemill_core.errors import InvalidInput

T = TypeVar("T")

Place = tuple[float, str, str]
"""The number, and what results with the same number differ by."""


def token_of(place: Place, of: Sequence[str]) -> str:
    """Return the token of the next page; `of` is what it is a page of: the resource, and filter and order."""
    return base64.urlsafe_b64encode(json.dumps([*of, *place]).encode()).decode()


def place_of(token: str, of: Sequence[str]) -> Place | None:
    """Return the place after which a page begins, None for the first one.

    Raises:
        InvalidInput: the token is none, or of another list.

    """
    if not token:
        return None
    belongs, found = _read(token)
    if belongs != [*of]:
        raise _unusable()
    return found


def order_of(token: str) -> str:
    """Return the last of what a token's page is of, as `token_of` was given it; empty for the first page.

    Raises:
        InvalidInput: the token is none.

    """
    belongs = _read(token)[0] if token else []
    return str(belongs[-1]) if belongs else ""


def _read(token: str) -> tuple[Sequence[object], Place]:
    try:
        *belongs, number, name, case = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        return belongs, (float(number), str(name), str(case))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _unusable() from error


def behind(
    items: Iterable[T], place: Callable[[T], Place], after: Place | None, *, descending: bool = False
) -> list[T]:
    """Return the items in the order of their places, without those of the pages that end with `after`."""
    ordered = sorted(items, key=place, reverse=descending)
    if after is None:
        return ordered
    return [each for each in ordered if (place(each) < after if descending else place(each) > after)]


def _unusable() -> InvalidInput:
    text = "is invalid: use next_page_token of the previous page, with the same order and filter"
    return InvalidInput.at(field="page_token", text=text)
