"""Raised text: an exponent is written with ^, a footnote's mark stands apart, an ordinal stays with its number."""

import re

RAISED = "\ufdd1"
"""Put around raised text by the conversion; a noncharacter, which no text has (Unicode, 23.7)."""
_RAISED = re.compile(rf"([^\W\d_]*|.)([ \t]?){RAISED}([^{RAISED}\n]{{0,200}}){RAISED}")
_LINK = re.compile(r"\[([^\[\]]{0,100})\]\([^()]{0,500}\)")
_MARK = re.compile(r"\[?(?:[*†‡§¶]+|\d{1,3}(?:[,;\u2013-] ?\d{1,3})*|[a-z])\]?")
_ORDINAL = re.compile(r"(?i)st|nd|rd|th|er|ère|re|e|ème|eme|o|a|os|as|º|ª")
_UNITS = frozenset(
    ("m", "cm", "dm", "km", "mm", "nm", "ft", "in", "yd", "mi", "s", "ms", "h", "kg", "g", "l", "mol", "rad")
)
_ONE_TERM = re.compile(r"[+\-\u2212\u2013]?\w+")
_SHORTEST_WORD = 2


def written_flat(text: str) -> str:
    """Return the text with what was raised written so that its meaning stays."""
    return _RAISED.sub(_flat, text) if RAISED in text else text


def _flat(match: re.Match[str]) -> str:
    before, space, raised = match[1], match[2], match[3].strip()
    linked = _LINK.fullmatch(raised)
    raised = linked[1] if linked else _LINK.sub(r"\1", raised)
    if not raised:
        return before + space
    return before + _joined(before, raised, linked=linked is not None)


def _joined(before: str, raised: str, *, linked: bool) -> str:
    word = len(before) >= _SHORTEST_WORD and before not in _UNITS
    if _MARK.fullmatch(raised) and (linked or raised[0] in "[*†‡§¶" or word or before in tuple(".,;:!?\"'”»")):
        return f" ({raised.strip('[]')})"
    if raised.isalpha() and (word or _ORDINAL.fullmatch(raised) or len(raised) > 1) and before != ")":
        return raised
    return f"^{raised}" if _ONE_TERM.fullmatch(raised) else f"^({raised})"
