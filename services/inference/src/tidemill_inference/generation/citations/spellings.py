"""One spelling for numbers and units that are written in several ways, before they are read."""

import re
import unicodedata
from typing import Final

from tidemill_inference.generation.citations.lexicon import plain

MINUS: Final = "minus"

_SCRIPTS = str.maketrans(
    {character: unicodedata.normalize("NFKC", character) for character in "₀₁₂₃₄₅₆₇₈₉"}
    | {"\u2009": "\u202f", "\u2007": "\u202f", "\ufe63": "-", "\uff0d": "-", "\u2212": "-", "\u03bc": "\u00b5"}
    | {"€": " euro ", "$": " dollar ", "£": " pound ", "¥": " yen ", "%": " percent ", "‰": " permille "}
    | {"\uff05": " percent ", "℃": "°c", "℉": "°f"}
)
_RAISED = re.compile("(?<=\\d)[⁰¹²³⁴-⁹]+")
_FRACTIONS: Final = {"½": "5", "¼": "25", "¾": "75"}
_FRACTION = re.compile(r"(\d{0,9}) ?([½¼¾])")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d{1,9}(?:\.\d{1,9})?)e\+?(\d{1,2})(?!\w)")
_SIGN = re.compile(r"(?:(?<=utc)|(?<=gmt)|(?<![^\s(\[{\"'=:|<>~\u2248])(?<!\d\s))[-\u2013](?=\.?\d)")
_SAID_MINUS = re.compile(r"(?<!\d )(?<!\bau )(?<!\bdu )(?<!\bal )(?<!\blo )\b(?:minus|moins|menos|negative) (?=[\w.])")
_BELOW_ZERO = re.compile(
    r"\b(\w{1,40}(?:[.,]\d{1,9})?)( (?:degrees?|grad|degrés?|grados?|celsius|fahrenheit|°[cf]?)){0,2}"
    r" (?:below (?:zero|freezing)|unter null|(?:en dessous de|au-dessous de|sous) zéro|bajo cero)\b"
)
_PHRASES: Final = tuple(
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        (r"(?<![\w.])\.(?=\d)", "0."),
        (r"\bper ?cent\b|\bpour cent\b|\bpor ciento\b", "percent"),
        (r"\bper mille?\b|\bpour mille\b|\bpor mil\b", "permille"),
        (r"\bpercent(?:age)? points?\b|\bpoints de pourcentage\b|\bpuntos porcentuales\b", "percentagepoints"),
        (r"\bkm ?/ ?h\b|\bkilomet(?:re|er)s? per hour\b|\bkilomètres?(?: à l'|[ -])heure\b", "kmh"),
        (r"\bmiles per hour\b", "mph"),
        (r"\bm ?/ ?s\b|\bmet(?:re|er)s per second\b", "mps"),
        (
            r"\b([cdkm]?m)\^?2\b|\bsquare (m)et(?:re|er)s?\b|\b(m)ètres? carrés?\b|\b(m)etros? cuadrados?\b",
            r"\1\2\3\4²",
        ),
        (r"\b([cdkm]?m)\^?3\b|\bcubic (m)et(?:re|er)s?\b|\b(m)ètres? cubes?\b|\b(m)etros? cúbicos?\b", r"\1\2\3\4³"),
        (r"\bsquare (k)ilomet(?:re|er)s?\b|\b(k)ilomètres? carrés?\b", "km²"),
        (r"° ?c\b", " celsius "),
        (r"° ?f\b", " fahrenheit "),
        (r"°", " degree "),
    )
)


def spelled(text: str) -> str:
    """Return a text in lower case in which signs, fractions, powers and units have one spelling."""
    found = plain(text).translate(_SCRIPTS)
    found = _RAISED.sub(lambda power: "^" + unicodedata.normalize("NFKC", power[0]), found)
    found = _FRACTION.sub(lambda match: f"{match[1] or 0}.{_FRACTIONS[match[2]]}", found)
    found = _SCIENTIFIC.sub(_expanded, found)
    found = _BELOW_ZERO.sub(lambda match: f"{MINUS} {match[1]}{match[2] or ''}", found)
    found = _SAID_MINUS.sub(f"{MINUS} ", found)
    found = _SIGN.sub(f" {MINUS} ", found)
    for pattern, spelling in _PHRASES:
        found = pattern.sub(spelling, found)
    return found


def _expanded(match: re.Match[str]) -> str:
    value = float(match[1]) * 10.0 ** int(match[2])
    return f"{value:.0f}" if value.is_integer() else match[0]
