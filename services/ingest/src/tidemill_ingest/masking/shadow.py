"""What identifiers are searched for in: a text as a reader sees it, each character with its place in the original."""

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

from tidemill_core.characters import IGNORABLE, MARKS, ignorable
from tidemill_ingest.masking.spans import Span

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58"
# A backslash before punctuation, and emphasis: a star between two words of a product, or an underscore within a name,
# is none.
_MAY_BE_LEFT_OUT = re.compile(f"[{IGNORABLE}{MARKS}*_~<\\\\]")
_LEFT_OUT = re.compile(
    f"[{IGNORABLE}{MARKS}]+"
    r"|</?(?:b|i|em|strong|u|s|mark|span|font|small|wbr)\b[^<>]{0,100}>"
    r"|\\(?=[!-/:-@\[-`{-~])|(?<![\w*])\*{1,3}(?=\w)|(?<=\w)\*{1,3}(?![\w*])|(?<!\*)\*{2,3}(?!\*)|~~"
    r"|(?<![\w_])_{1,3}(?=[^\W_])|(?<=[^\W_])_{1,3}(?![\w_])"
)


_ENCODED = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,10});|%[2-7][0-9A-Fa-f]")
_DOTS = re.compile("(?<=[A-Za-z0-9])[\u3002\uff61](?=[A-Za-z]{2})|(?<=\\d)[\u00b7\u2022\u2219\u2027](?=\\d)")
_FILLER = "\u200b"


class Shadow:
    """A text with compatible characters made plain (NFKC), every space a blank, and without what is not read.

    Each character becomes one or none, so that spans can be mapped back.
    """

    def __init__(self, original: str) -> None:
        self._original = original
        decoded = _decoded(original)
        others = {} if decoded.isascii() else _plain_characters(decoded)
        plain = decoded.translate(others) if others else decoded
        parts: list[str] = []
        self._starts: list[int] = [0]
        self._shifts: list[int] = [0]
        end = length = 0
        for match in _left_out(plain):
            parts.append(plain[end : match.start()])
            length += match.start() - end
            end = match.end()
            self._starts.append(length)
            self._shifts.append(end - length)
        parts.append(plain[end:])
        self.text = "".join(parts)

    def original(self, span: Span) -> Span:
        """Return where the original has what a span of the shadow has; emphasis that ends in it begins in it."""
        start, stop = self._place(span[0]), self._place(span[1] - 1) + 1
        opened = start
        while opened and self._original[opened - 1] in "*~":
            opened -= 1
        emphasised = opened < start and self._original.find(self._original[opened:start], start, stop) >= 0
        return (opened if emphasised else start), stop

    def _place(self, position: int) -> int:
        return position + self._shifts[bisect_right(self._starts, position) - 1]


def _decoded(text: str) -> str:
    """Return a text with entities (HTML), percent-encoding (RFC 3986) and dots of other scripts read, at its length."""
    if "&" in text or "%" in text:
        text = _ENCODED.sub(lambda match: _read(match[0]), text)
    return text if text.isascii() else _DOTS.sub(lambda dot: "." if dot[0] in "\u3002\uff61" else "-", text)


def _read(encoded: str) -> str:
    read = chr(int(encoded[1:], 16)) if encoded[0] == "%" else html.unescape(encoded)
    is_one = len(read) == 1 and unicodedata.category(read) != "Cc"
    return read + _FILLER * (len(encoded) - 1) if is_one else encoded


def _left_out(plain: str) -> Iterator[re.Match[str]]:
    """Yield what is not read; the few characters of a text that may be so are found ten times as fast."""
    present = "".join(sorted(each for each in set(plain) if _MAY_BE_LEFT_OUT.match(each)))
    for run in _runs_of(present).finditer(plain) if present else ():
        place = run.start()
        while place < run.end():
            match = _LEFT_OUT.match(plain, place)
            if match:
                yield match
            place = match.end() if match else place + 1


@lru_cache(maxsize=64)
def _runs_of(characters: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(characters)}]+")


def _plain_characters(text: str) -> dict[int, str]:
    return {
        ord(character): plain
        for character in set(text)
        if not character.isascii() and (plain := _plain(character)) != character
    }


@lru_cache(maxsize=65_536)
def _plain(character: str) -> str:
    """Return the one character that is meant by another one, or the same."""
    if ignorable(character):
        return character
    if character.isspace():
        return "\n" if character in "\u2028\u2029\x85" else " "
    if character in _DASHES:
        return "-"
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
