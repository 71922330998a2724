"""Raised and lowered text keeps its meaning.

An exponent is written with ^, a footnote's mark stands apart, an ordinal stays with its number; a lowered number behind
another one is written with _, one behind letters (H2O) as it is.
"""

import re

_MARKS = _UP, _UP_ENDS, _DOWN, _DOWN_ENDS = "\ufdd1\ufdd2\ufdd3\ufdd4"
"""Stand for the tags through the conversion, in code too; noncharacters, which no text has (Unicode, 23.7)."""
_ANY_MARK = re.compile(f"[{''.join(_MARKS)}]")
_TAG = re.compile(r"(?i)<(/?)(su[pb])(?:\s[^<>]{0,500})?/?>")
_STYLED = re.compile(
    r"(?i)<span\b[^<>]{0,500}vertical-align:\s{0,3}(sup|sub)(?:er)?\b[^<>]{0,500}>([^<>]{0,200})</span\s{0,3}>"
)
_TAGS = {("", "sup"): _UP, ("/", "sup"): _UP_ENDS, ("", "sub"): _DOWN, ("/", "sub"): _DOWN_ENDS}
_MAX_NESTED = 4
_FRACTION = re.compile(
    rf"(\d?)[ \t]?{_UP}(\d{{1,9}}){_UP_ENDS}[ \t]?[/\u2044\u2215][ \t]?{_DOWN}(\d{{1,9}}){_DOWN_ENDS}"
)
_LOWERED = re.compile(rf"(\w?){_DOWN}([^{''.join(_MARKS)}\n]{{0,200}}){_DOWN_ENDS}")
_RAISED = re.compile(rf"([^\W\d_]*|.)([ \t]?){_UP}([^{''.join(_MARKS)}\n]{{0,200}}){_UP_ENDS}")
_LINK = re.compile(r"\[([^\[\]]{0,100})\]\([^()]{0,500}\)")
_EMPHASIS = re.compile(r"([*_]{1,3})(\w.*)\1")
_MARK = re.compile(r"\[?(?:\\?[*†‡§¶]+|\d{1,3}(?:[,;\u2013-] ?\d{1,3})*|[a-z])[\])]?")
_ORDINAL = re.compile(r"(?i)st|nd|rd|th|er|ère|re|e|ème|eme|o|a|os|as|º|ª")
_UNIT = re.compile(r"[kMGTcdmµμnph]?(?:m|s|g|A|K|mol|l|L|Pa|N|J|W|V|Hz|eV)|ha|ft|in|yd|mi|rad|bar|min")
_OF_A_UNIT = re.compile(r"[23]|[+\-\u2212\u2013]\d")
_FUNCTION = re.compile(r"(?:a?(?:sin|cos|tan)h?|cot|sec|csc|log|ln|exp)")
_ONE_TERM = re.compile(r"[+\-\u2212\u2013]?\w+")
_MATHS = frozenset("=+\u2212\u00b7\u00d7/^<>\u2264\u2265\u2248")
_SHORTEST_WORD = 2


def with_marks(html: str) -> str:
    """Return a page with marks for the tags that raise and lower text, which the conversion does not see in code."""
    html = _STYLED.sub(_styled, _ANY_MARK.sub("", html))
    return _TAG.sub(lambda tag: _TAGS[tag[1], tag[2].lower()], html)


def written_flat(text: str) -> str:
    """Return the text with what was raised or lowered written so that its meaning stays; the innermost first."""
    for _ in range(_MAX_NESTED):
        if not _ANY_MARK.search(text):
            break
        text = _RAISED.sub(_flat, _LOWERED.sub(_below, _FRACTION.sub(_fraction, text)))
    return _ANY_MARK.sub("", text)


def _styled(match: re.Match[str]) -> str:
    name = match[1].lower()
    return f"{_TAGS['', name]}{match[2]}{_TAGS['/', name]}"


def _fraction(match: re.Match[str]) -> str:
    whole, numerator, denominator = match.groups()
    if whole:
        return f"{whole} {numerator}/{denominator}"
    return f"{match[0][: match[0].index(_UP)]}{numerator}/{denominator}"


def _below(match: re.Match[str]) -> str:
    before, lowered = match[1], match[2].strip()
    return f"{before}_{lowered}" if before.isdecimal() and lowered[:1].isalnum() else before + lowered


def _flat(match: re.Match[str]) -> str:
    before, space, raised = match[1], match[2], match[3].strip()
    linked = _LINK.fullmatch(raised)
    raised = linked[1] if linked else _LINK.sub(r"\1", raised)
    if emphasised := _EMPHASIS.fullmatch(raised):
        raised = emphasised[2]
    if not raised:
        return before + space
    return before + _joined(before, raised, maths=_is_maths(match), linked=linked is not None)


def _is_maths(match: re.Match[str]) -> bool:
    """Return whether what stands around a word and what is raised behind it is a formula."""
    text = match.string
    earlier = text[max(0, match.start() - 4) : match.start()].rstrip()
    later = text[match.end() : match.end() + 4].lstrip()
    return earlier[-1:] in _MATHS or (later[:1] in _MATHS and later[:1] not in "<>/") if earlier or later else False


def _joined(before: str, raised: str, *, maths: bool, linked: bool) -> str:
    power = maths or (_UNIT.fullmatch(before) and _OF_A_UNIT.fullmatch(raised)) or _FUNCTION.fullmatch(before)
    word = len(before) >= _SHORTEST_WORD and not power
    sign = raised.lstrip("\\[")[:1] in "*†‡§¶" or raised[0] == "["
    if _MARK.fullmatch(raised) and (linked or sign or word or before in tuple(".,;:!?\"'”»")):
        return f" ({raised.strip('[]()')})"
    if not any(each.isalnum() for each in raised):
        return raised
    if raised.isalpha() and (word or _ORDINAL.fullmatch(raised) or len(raised) > 1) and before != ")":
        return raised
    return f"^{raised}" if _ONE_TERM.fullmatch(raised) else f"^({raised})"
