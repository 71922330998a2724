"""The order and the filter of List requests, as AIP-132 and AIP-160 write them; only what an index serves is taken."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.errors import InvalidInput

MAX_FILTER = 1000
_TERM = re.compile(
    r"""
    \s* ([A-Za-z_][A-Za-z0-9_.]*) \s* = \s* ("(?:[^"\\]|\\.)*+" | [A-Za-z0-9_.@-]++)
    (?: \s+ AND \s+ (?=\S) | \s* $ )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Order:
    """The field that a list is ordered by, and which items come first in its two directions."""

    field: str
    ascending: str
    descending: str


CREATED = Order("create_time", "oldest first", "newest first")


def descends(order_by: str, order: Order = CREATED) -> bool:
    """Return whether `order_by` is the descending direction of the order.

    Raises:
        InvalidInput: it is neither direction.

    """
    given, descending = " ".join(order_by.split()), f"{order.field} desc"
    if given not in {"", order.field, descending}:
        choice = f'"{order.field}" ({order.ascending}, the default) or "{descending}" ({order.descending})'
        raise InvalidInput.at(field="order_by", text=f"is {given[:80]!r}; send {choice}")
    return given == descending


def values_of(text: str, *, allowed: Mapping[str, str]) -> dict[str, str]:
    r"""Return what a filter asks of each field, by the field's name in the store, which `allowed` gives.

    Terms are `field = "value"`, joined by AND; in quotes, `\"` and `\\` stand for themselves.

    Raises:
        InvalidInput: it is no such filter, or names a field that is not allowed or another one twice.

    """
    if len(text) > MAX_FILTER:
        raise _refused(description=f"has {len(text)} characters; send at most {MAX_FILTER}")
    asked: dict[str, str] = {}
    place = 0
    while text.strip() and place < len(text):
        if (term := _TERM.match(text, place)) is None:
            raise _refused(
                description=f'is not a filter at {text[place : place + 40]!r}; write field = "value" AND ...'
            )
        name, value = term.groups()
        if name not in allowed:
            known = f"allowed: {', '.join(sorted(allowed))}" if allowed else "this list cannot be filtered"
            raise _refused(description=f"names {name[:40]!r}; {known}")
        if allowed[name] in asked:
            raise _refused(description=f"names {name!r} twice; name it once")
        asked[allowed[name]] = _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        place = term.end()
    return asked


def _refused(*, description: str) -> InvalidInput:
    return InvalidInput.at(field="filter", text=description)
