"""Finds e-mail addresses and phone numbers."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import phonenumbers
from phonenumbers import Leniency, PhoneNumberMatcher

from tidemill_ingest.adapters.masking.spans import Finder, Span, window

# RFC 5322's dot-atom and a host name of RFC 1035 with letters beyond ASCII (RFC 6531); found from the @ on,
# which is %40 in a URL.
_AT_HOST = re.compile(r"(?:@|%40)(?=\w)(?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,63}|xn--[\w-]{2,59})(?![\w@])")
_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*\Z")
_LONGEST_LOCAL = 64
_NOT_LOCAL = "'`/=|{}*#!?&$%^~"
"""Allowed in theory; in front of an address they are quotes, markup, or the query of a URL."""

_DIGITS = re.compile(r"\d[\d \u00a0\u2009\u202f().\-\u2010-\u2013/]{4,40}\d")
_NORTH_AMERICAN = re.compile(r"(?:1[-. ])?\(?[2-9]\d\d\)?[-. ]{1,2}[2-9]\d\d[-. ]\d{4}")
_TRUNK = re.compile(r"\(?0[1-9][\d()]*[ \u00a0/.\-\u2010-\u2013]")
_DECIMAL = re.compile(r"\d+\.\d+")
_PHONE_WORD = re.compile(
    r"(?i)\b(?:tel|phone|telephone|telefon|téléphone|mobile|mobil|handy|cell|fax|call|hotline|whatsapp|sms|dial)\b"
    r"[^\d\n]{0,16}\Z"
)
_WORD_WINDOW = 32
_FEWEST, _MOST, _FEWEST_WITH_EXIT_CODE = 7, 15, 10
"""Digits of a number: E.164 allows 15, and shorter ones than 7 are not told from other numbers."""


def find_emails(text: str) -> Iterator[Span]:
    """Yield addresses; `git@host:path` names a repository and stays."""
    for match in _AT_HOST.finditer(text):
        local = _LOCAL.search(window(text, match.start(), before=_LONGEST_LOCAL))
        if local is None:
            continue
        name = local[0]
        for character in _NOT_LOCAL:
            name = name.rpartition(character)[2]
        name = name.lstrip("-")
        if name and not (name == "git" and text[match.end() : match.end() + 1] == ":"):
            yield match.start() - len(name), match.end()


def phone_finder(regions: Sequence[str]) -> Finder:
    """Return what finds phone numbers: international ones, and national ones as the regions write them."""

    def find_phones(text: str) -> Iterator[Span]:
        for match in _DIGITS.finditer(text):
            start, stop = match.span()
            if start and text[start - 1] == "(":
                start -= 1
            before = window(text, start, before=_WORD_WINDOW)
            if before.endswith("+"):
                start, before = start - 1, before[:-1]
            announced = _PHONE_WORD.search(before) is not None
            if not announced and _begins_inside_word(before):
                continue
            if _ends_inside_word(text[stop : stop + 2]):
                continue
            for first, last in _found(text[start:stop], tuple(regions), announced):
                yield start + first, start + last

    return find_phones


def _begins_inside_word(before: str) -> bool:
    """Tell numbers that are the rest of an identifier, a path, a decimal fraction or a longer number."""
    if before and (before[-1].isalnum() or before[-1] in "_@/=.#$%"):
        return True
    return len(before) > 1 and before[-1] in "-:," and before[-2].isalnum()


def _ends_inside_word(after: str) -> bool:
    if after and (after[0].isalnum() or after[0] in "_@"):
        return True
    return len(after) > 1 and after[0] in ".-/:" and after[1].isalnum()


@lru_cache(maxsize=4096)
def _found(candidate: str, regions: tuple[str, ...], announced: bool) -> tuple[Span, ...]:  # noqa: FBT001 - a cache key
    """Return where phone numbers are in the candidate; `announced` by a word such as tel."""
    digits = sum(character.isdigit() for character in candidate)
    if digits < _FEWEST:
        return ()
    if _DECIMAL.fullmatch(candidate.lstrip("+")):
        return ()
    if candidate.startswith("+") or (candidate.startswith("00") and digits >= _FEWEST_WITH_EXIT_CODE):
        return _international(candidate, digits)
    if announced:
        return _national(candidate, regions, Leniency.POSSIBLE if digits <= _MOST else Leniency.VALID)
    if _NORTH_AMERICAN.match(candidate) or _TRUNK.match(candidate):
        return _national(candidate, regions, Leniency.STRICT_GROUPING)
    return ()


def _international(candidate: str, digits: int) -> tuple[Span, ...]:
    if not candidate.startswith("+"):
        candidate, shift = "+" + candidate[2:], 1
    else:
        shift = 0
    for found in PhoneNumberMatcher(candidate, None, leniency=Leniency.POSSIBLE):
        possible = phonenumbers.is_valid_number(found.number) or (not shift and digits <= _MOST)
        if possible and found.start == 0:
            return ((0, found.end + shift),)
    return ()


def _national(candidate: str, regions: tuple[str, ...], leniency: int) -> tuple[Span, ...]:
    for region in regions:
        if found := [(match.start, match.end) for match in PhoneNumberMatcher(candidate, region, leniency=leniency)]:
            return tuple(found)
    return ()
