"""Pages of lists in the order of (create_time, id), either way: the next starts after a place, never after a count."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tidemill_core.application import PageRequest, Where
from tidemill_core.errors import InvalidInput

MAX_PAGE_SIZE = 1000
_MAX_DIGITS = 18
"""Of a number in a token: what every store holds."""


@dataclass(frozen=True, slots=True)
class Place:
    """The last item of the page before."""

    create_time: datetime
    id: str


def checked_size(page: PageRequest) -> int:
    """Return the number of items that are requested.

    Raises:
        InvalidInput: it is not between 1 and 1000.

    """
    if not 1 <= page.size <= MAX_PAGE_SIZE:
        raise InvalidInput.at(field="page_size", text=f"is {page.size}: use 1 to {MAX_PAGE_SIZE}")
    return page.size


def list_digest(project: str, where: Where, *, show_deleted: bool, newest_first: bool = False) -> str:
    """Return what names a list: a token leads on in the list that it came from and in no other."""
    order = ["newest_first"] if newest_first else []  # tokens of the other order are as they were
    named = json.dumps([project, sorted(where.items()), show_deleted, *order])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def token_after(place: Place, *, digest: str) -> str:
    """Return the opaque token of the page that starts after `place`."""
    text = json.dumps([digest, place.create_time.isoformat(), place.id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(token: str, *, digest: str) -> Place | None:
    """Return the place that the token names; None for the first page.

    Raises:
        InvalidInput: the token is not one of this list.

    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        token_digest, create_time, item_id = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        place = Place(datetime.fromisoformat(create_time).astimezone(UTC), str(item_id).encode().decode())
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _unusable() from error
    if token_digest != digest:
        raise _unusable()
    return place


def number_of(text: str) -> int:
    """Return the number that a token leads on from.

    Raises:
        InvalidInput: it is none, or longer than any of a list.

    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _unusable()
    return int(text)


def numbered_page(numbers: Sequence[int], page: PageRequest) -> tuple[Sequence[int], str]:
    """Return the numbers of a page, and the token of the next; `numbers` are all versions of a thing, ascending.

    Raises:
        InvalidInput: the page's size or token is not usable.

    """
    size, sign = checked_size(page), "-" if page.newest_first else ""
    if page.token and not page.token.startswith(sign):
        raise _unusable()
    after = number_of(page.token.removeprefix(sign)) if page.token else None
    if page.newest_first:
        left = [each for each in reversed(numbers) if after is None or each < after]
    else:
        left = [each for each in numbers if after is None or each > after]
    return left[:size], f"{sign}{left[size - 1]}" if len(left) > size else ""


def _unusable() -> InvalidInput:
    text = "is not a token of this list: use next_page_token of the page before, with the same order and filter"
    return InvalidInput.at(field="page_token", text=text)
