"""Invisible characters and unbounded marks, defined in one place."""

import re
import unicodedata

_COMBINING_BLOCKS_END = 0x1F000
_MAX_MARKS = 30
"""As many marks in a row as Unicode's stream-safe text format allows (UAX 15, section 13)."""

# Control characters mean nothing in a text. Zero-width spaces, soft hyphens, fillers and invisible operators hide words
# from search; what overrides, embeds or isolates a direction turns what people read; tags are read by models alone.
# Joiners, direction marks and variation selectors are spelling, in Persian and in emoji, and stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e007f]"
)
# Default_Ignorable_Code_Point of Unicode 14 (DerivedCoreProperties.txt), with the direction marks and Hangul fillers.
IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_BLANK_BRAILLE = "\u2800"
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
MARKS = "".join(chr(code) for code in range(0x300, _COMBINING_BLOCKS_END) if unicodedata.combining(chr(code)))
_MARKS = frozenset(MARKS)
_TOO_MANY_MARKS = re.compile(f"([{MARKS}]{{{_MAX_MARKS}}})[{MARKS}]+")


def clean(text: str) -> str:
    """Return the text in NFC, lines ended by LF, without invisible characters."""
    present = set(text)
    if any(_LINE_ENDS.match(each) for each in present):
        text = _LINE_ENDS.sub("\n", text)
    if any(_UNSEEN.match(each) for each in present):
        text = _UNSEEN.sub("", text)
    return text if text.isascii() else unicodedata.normalize("NFC", stream_safe(text))


def clean_line(text: str) -> str:
    """Return the text cleaned, on one line."""
    return " ".join(clean(text).split())


def stream_safe(text: str) -> str:
    """Return the text with at most 30 marks on a letter: sorting them, which normalising does, takes their square."""
    return _TOO_MANY_MARKS.sub(r"\1", text) if any(each in _MARKS for each in set(text)) else text


def printable(text: str) -> str:
    """Return the text without what a terminal obeys or a direction override hides; line ends and tabs stay."""
    return _OBEYED.sub("", text)


def says_something(text: str) -> bool:
    """Return whether a text has a letter, a number or a symbol: anything beyond blanks, marks and punctuation."""
    return any(
        unicodedata.category(each)[0] in "LNS" and not ignorable(each) for each in text if each != _BLANK_BRAILLE
    )


def same_words(one: str, other: str) -> bool:
    """Return whether two texts read the same: compatibility forms, white space and invisible characters aside."""
    return _compared(one) == _compared(other)


def _compared(text: str) -> list[str]:
    seen = "".join(each for each in stream_safe(text) if not ignorable(each) and each.isprintable() | each.isspace())
    return unicodedata.normalize("NFKC", seen.replace(_BLANK_BRAILLE, " ")).split()


def without_ignorable(text: str) -> str:
    """Return the text without characters that may be left out where texts are compared."""
    return text if text.isascii() else _IGNORABLE.sub("", text)


def ignorable(character: str) -> bool:
    """Return whether a character may be left out where texts are compared."""
    return _IGNORABLE.match(character) is not None


_IGNORABLE = re.compile(f"[{IGNORABLE}]")
