"""Pictures and files that are written into a text: what they are called stays, their bytes go."""

import re

_GONE = "\ufdd0"
"""Stands where bytes stood until what is around them is known; a noncharacter, which no text has (Unicode, 23.7)."""
_URI = re.compile(
    r"(?i)\bdata:(?:[a-z0-9][\w.+-]{0,60}/[\w.+-]{1,100}(?:;[\w.+-]{1,40}(?:=[\w.+\"'%-]{0,100})?){0,4}(?:;base64)?|;base64),"
    r"(?:[A-Za-z0-9+/=_~.!$&*;:@?-]|%[0-9A-Fa-f]{2})*(?:\n[ \t]{0,20}[A-Za-z0-9+/]{4,}={0,2}(?=[\n\"')>]))*"
)
_BARE = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{40,}={0,2}(?:\n[ \t]{0,20}[A-Za-z0-9+/_-]{4,}={0,2}(?![\w ]))*")
"""What may be base64 without saying so: one long run, or lines of it."""
_MIN_BYTES = 2000
"""Characters of it; keys, digests and certificates are shorter, and may be what a text is about."""
_MIN_DIFFERENT = 40
"""Characters that base64 of so many bytes has; no other long run has as many."""
_WHERE = rf"\(\s{{0,3}}<?{_GONE}[^()\n]{{0,500}}\n?[ \t]{{0,3}}\)"
_WORDS = r"((?:[^\[\]\n]|\n(?!\s)|\[[^\[\]\n]{0,100}\]){0,1000}?)"
_PICTURE = re.compile(rf"!\[{_WORDS}\]{_WHERE}")
_LINK = re.compile(rf"(?<!!)\[{_WORDS}\]{_WHERE}")
_REFERENCE = re.compile(rf"(?m)^ {{0,3}}\[[^\[\]\n]{{1,200}}\]:[ \t]{{0,3}}<?{_GONE}.*\n?")
_ELEMENT = re.compile(rf"<img\b[^<>]{{0,1000}}{_GONE}[^<>]{{0,1000}}>")
_ALTERNATIVE = re.compile(r"\balt=[\"']([^\"'<>]*)[\"']")


def without_data_uris(text: str) -> str:
    """Return the text without data URIs (RFC 2397): of a picture its alternative text stays, of a link its words.

    Long base64 that stands alone, as in notebooks and mails, goes as well.
    """
    text = _BARE.sub(_without_bytes, _URI.sub(_GONE, text.replace(_GONE, "")))
    if _GONE not in text:
        return text
    for form, words in ((_PICTURE, r"\1"), (_LINK, r"\1"), (_REFERENCE, "")):
        text = form.sub(words, text)
    return _ELEMENT.sub(_alternative, text).replace(_GONE, "")


def _without_bytes(run: re.Match[str]) -> str:
    many = len(run[0]) >= _MIN_BYTES and len(set(run[0])) >= _MIN_DIFFERENT
    return _GONE if many else run[0]


def _alternative(element: re.Match[str]) -> str:
    found = _ALTERNATIVE.search(element[0])
    return found[1] if found else ""
