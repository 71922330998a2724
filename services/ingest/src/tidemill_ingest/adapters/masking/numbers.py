"""Finds payment cards, IBANs and IP addresses."""

import ipaddress
import re
import string
from collections.abc import Iterator

from stdnum import iban, luhn

from tidemill_ingest.adapters.masking.spans import Span, window

_CARD = re.compile(r"[2-6]\d{3}(?:[ -]?\d){8,15}(?!\w|[.-]\d)")
# The first digits and lengths that networks issue (ISO/IEC 7812): Visa, Mastercard, American Express, Diners Club,
# Discover, JCB, UnionPay, Maestro.
_ISSUED = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|095|[68]\d)\d{11}|(?:6011|64[4-9]\d|65\d\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}"
    r"|62\d{14,17}|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"
)
_SHORTEST_CARD = 12
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0]?[A-Za-z0-9]){11,30}")
_SHORTEST_IBAN = 15
_DIGITS_OF = {character: str(value) for value, character in enumerate(string.digits + string.ascii_uppercase)}

_IPV4 = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\.?\w)")
_VERSION = re.compile(
    r"(?i)(?:\b(?:v|ver|version|release|build|revision|section|chapter|clause|figure|table|oid)s?[.:]?\s*|§\s*|[=<>~!^]=\s*"
    r"|\bpython\s+|[\w.]|[^\W\d_]-)\Z"
)
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_HEX = frozenset("0123456789abcdefABCDEF")
_SUBSCRIPT = re.compile(r"[\w\])]\[\Z")
_FEWEST_HEXTETS = 3
_TELLING_HEXTET = 3
"""Characters of a first hextet such as fe80 or 2001, which a slice like a[1::2] seldom has."""


def find_cards(text: str) -> Iterator[Span]:
    """Yield numbers that some network issues and whose check digit is right (Luhn)."""
    for match in _CARD.finditer(text):
        if not _continues(text, match.start()) and (stop := _end_of_card(text, match.start(), match.end())):
            yield match.start(), stop


def _end_of_card(text: str, start: int, stop: int) -> int:
    """Return the end of the longest card number that starts here; other numbers, such as a date, may follow it."""
    while stop - start >= _SHORTEST_CARD:
        if stop == len(text) or not text[stop].isalnum():
            digits = text[start:stop].replace(" ", "").replace("-", "")
            if _ISSUED.fullmatch(digits) and luhn.is_valid(digits):
                return stop
        stop -= 1
    return 0


def find_ibans(text: str) -> Iterator[Span]:
    """Yield account numbers of a country's own form whose check digits are right (ISO 13616)."""
    for match in _IBAN.finditer(text):
        if stop := _end_of_iban(text, match.start(), match.end()):
            yield match.start(), stop


def _end_of_iban(text: str, start: int, stop: int) -> int:
    """Return the end of the longest IBAN that starts here and ends with a word; words after it may look like more."""
    while stop - start >= _SHORTEST_IBAN:
        if stop == len(text) or not text[stop].isalnum():
            compact = text[start:stop].replace(" ", "").replace("\u00a0", "").upper()
            if _has_right_check_digits(compact) and iban.is_valid(compact):
                return stop
        stop -= 1
    return 0


def _has_right_check_digits(compact: str) -> bool:
    """Do the first part of what the library does, thirty times as fast (ISO/IEC 7064, MOD 97-10)."""
    return int("".join(_DIGITS_OF[character] for character in compact[4:] + compact[:4])) % 97 == 1


def find_addresses(text: str) -> Iterator[Span]:
    """Yield IPv4 and IPv6 addresses, not version numbers or slices."""
    for match in _IPV4.finditer(text):
        before = window(text, match.start(), before=16)
        if _is_address(match[0]) and not _VERSION.search(before):
            yield match.span()
    end = 0
    for match in _TWO_COLONS.finditer(text):
        start = match.start()
        while start > end and text[start - 1] in _HEX:
            start -= 1
        if start < end or (start and (text[start - 1].isalnum() or text[start - 1] in "_:.")):
            continue
        found = _IPV6.match(text, start)
        if found and _is_telling(found[0], window(text, start, before=2)) and _is_address(found[0]):
            yield found.span()
            end = found.end()


def _continues(text: str, start: int) -> bool:
    """Tell whether a number is the rest of something longer."""
    return start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_.+-")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_telling(address: str, before: str) -> bool:
    hextets = [part for part in address.split(":") if part]
    if _SUBSCRIPT.search(before):
        return False
    if len(hextets) >= _FEWEST_HEXTETS or address == "::1":
        return True
    return not address.startswith(":") and bool(hextets) and len(hextets[0]) >= _TELLING_HEXTET
