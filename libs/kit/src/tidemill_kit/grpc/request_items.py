"""How many items a request has, counted in its bytes: before protobuf makes an object of each.

An empty item takes two bytes and becomes a hundred, so the size of a message bounds neither memory nor time.
"""

from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from tidemill_core.errors import InvalidInput, Violation

_BYTES_PER_ITEM = 2
"""The least: a tag and a length, or a tag and a number."""
_FIELDS_PER_ITEM = 4
"""All fields that are read may be so many times the items; more is what one message of a contract hardly has."""
_VARINT, _LEN, _FIXED = 0, 2, {1: 8, 5: 4}
_GROUPS = (3, 4)
_MORE = 0x80
"""Set in each byte of a number but the last."""
_MAX_SHIFT = 70


class TooManyItems(InvalidInput):
    """A request repeats its fields more often than one request may."""

    reason = "TOO_MANY_ITEMS"


def check_items(raw: bytes, kind: Descriptor, *, limit: int) -> None:
    """Refuse a request with more items in its repeated fields than `limit`, those of its parts included.

    What a request cannot have with its size is not counted. Fields that the contract does not know, and repetitions of
    a field that has one value, are bounded as well: reading them takes time too.

    Raises:
        TooManyItems: it has more, or too many fields in all.
        DecodeError: its bytes are no message.

    """
    if len(raw) > limit * _BYTES_PER_ITEM:
        try:
            _Count(raw, limit=limit).walk(kind)
        except IndexError:
            raise DecodeError from None


def check_json_items(given: object, *, limit: int) -> None:
    """Refuse JSON with more items in its lists and objects than `limit`, before protobuf makes a field of each.

    Raises:
        TooManyItems: it has more.

    """
    items, parts = 0, [given]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping | list):
            items += len(part)
            if items > limit:
                text = f"has more than {limit} items in its lists and objects (MAX_REQUEST_ITEMS): send less at once"
                raise TooManyItems.of(Violation("request", text))
            parts.extend(part.values() if isinstance(part, Mapping) else part)


class _Count:
    """One walk over the bytes of a message."""

    def __init__(self, raw: bytes, *, limit: int) -> None:
        self._raw = raw
        self._limit = limit
        self._items = 0
        self._fields = 0

    def walk(self, kind: Descriptor) -> None:
        """Go through all fields of the message, and of those in it that repeat anything."""
        parts = [(0, len(self._raw), kind)]
        while parts:
            start, end, kind = parts.pop()
            repeated, messages = _shape(kind)
            while start < end:
                tag, start = self._number(start)
                number, wire = tag >> 3, tag & 7
                self._add(number in repeated)
                if wire == _LEN:
                    size, start = self._number(start)
                    if number in messages:
                        parts.append((start, start + size, messages[number]))
                    start += size
                elif wire == _VARINT:
                    _, start = self._number(start)
                elif wire in _FIXED:
                    start += _FIXED[wire]
                elif wire not in _GROUPS:
                    raise IndexError
            if start != end:
                raise IndexError

    def _add(self, item: bool) -> None:  # noqa: FBT001 - called once for each field
        self._items += item
        self._fields += 1
        if self._items > self._limit or self._fields > self._limit * _FIELDS_PER_ITEM:
            text = f"has more than {self._limit} items in its repeated fields (MAX_REQUEST_ITEMS), or as many fields as"
            raise TooManyItems.of(Violation("request", f"{text} that would take: send less at once"))

    def _number(self, start: int) -> tuple[int, int]:
        """Return the varint that begins there, and where it ends."""
        byte = self._raw[start]
        if byte < _MORE:
            return byte, start + 1
        value, shift = byte & 0x7F, 7
        while byte >= _MORE:
            start += 1
            byte = self._raw[start]
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise IndexError
        return value, start + 1


@cache
def _shape(kind: Descriptor) -> tuple[frozenset[int], dict[int, Descriptor]]:
    """Return the numbers of the fields that repeat, and the messages whose own fields are to be read."""
    messages = {f.number: f.message_type for f in kind.fields if f.message_type is not None}
    return frozenset(f.number for f in kind.fields if f.is_repeated), messages
