"""Finds e-mail addresses that are written for people only: jane at example dot com, jane (at) example.com."""

import re
from collections.abc import Iterator

from tidemill_ingest.masking.spans import Span, window

_OPEN, _CLOSE = r" ?[\[({<] ?", r" ?[\])}>] ?"
_DOT_WORDS, _BACKWARDS_DOT_WORDS = "dot|punkt|point|punto|ponto", "tod|tknup|tniop|otnup|otnop"
# An @ in brackets or with blanks, words that mean nothing else, and the word at.
_AT = re.compile(
    rf"(?i)(?P<sure>{_OPEN}(?:at|@|ät|arobase|arroba){_CLOSE}| (?:ät|arobase|arroba) )|(?P<sign> @ ?|@ )|(?P<word> at )"
)
_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|io|dev|app|co|eu|uk|de|ch|fr|es|pt|nl|pl|cz|se|dk|fi|ie|gr|ro|hu|ru|ua|tr|br"
    "|ar|mx|cl|ca|au|nz|jp|cn|kr|hk|sg|za|at|it|be|example|test"
)
_WRITTEN_DOT = rf"{_OPEN}(?:{_DOT_WORDS}|\.){_CLOSE}| (?:{_DOT_WORDS}) "
_HOST = re.compile(rf"(?i)(?:[\w-]{{1,63}}(?:\.|{_WRITTEN_DOT})){{1,4}}(?:{_TOP})(?![\w@(\[-]|\.\w)")
_WRITTEN_HOST = re.compile(rf"(?i)(?:[\w-]{{1,63}}(?:{_WRITTEN_DOT})){{1,4}}(?:{_TOP})(?![\w@(\[-]|\.\w)")
_BACKWARDS_LOCAL = re.compile(
    rf"(?i)[\w+-][\w+.-]{{0,63}}(?:(?: (?:{_BACKWARDS_DOT_WORDS}) "
    rf"| ?[\])}}>] ?(?:{_BACKWARDS_DOT_WORDS}|\.) ?[\[({{<] ?)[\w+-]{{1,63}}){{0,3}}"
)
_LETTER = re.compile(r"[^\W\d_]")
_DESCRIPTIVE = re.compile(r"[\d._+-]| ")
_ANNOUNCED = re.compile(
    r"(?i)\b(?:e-?mails?|mailto|address|contact|reach|write|send|cc|adresse|schreib\w*|courriel|correo)\b[^.!?\n]{0,40}\Z"
)
_EVERYDAY = frozenset(
    (
        *("us", "me", "it", "them", "him", "her", "you", "look", "looks", "looking", "see", "find", "found", "is"),
        *("are", "was", "were", "be", "been", "meet", "meets", "met", "visit", "go", "read", "available", "hosted"),
        *("online", "more", "here", "there", "page", "site", "sites", "documents", "docs", "files", "address", "or"),
        *("and", "all"),
    )
)
"""What stands before at, and is no name."""
_LONGEST_LOCAL = 100
_DOT = re.compile(rf"(?i){_WRITTEN_DOT}")


def find_written_emails(text: str) -> Iterator[Span]:
    """Yield addresses with another sign for @ or for dots; "look at example dot com" names a site, and stays."""
    end = 0
    for match in _AT.finditer(text):
        form = _WRITTEN_HOST if match["word"] == " at " else _HOST
        host = form.match(text, match.end())
        before = window(text, match.start(), before=_LONGEST_LOCAL)
        local = _BACKWARDS_LOCAL.match(before[::-1]) if host else None
        if host is None or local is None or match.start() - len(local[0]) < end:
            continue
        name = local[0][::-1].lstrip("-")
        if _LETTER.search(name) and (match["sure"] or _is_name(name, before[: -len(name)], said=bool(match["word"]))):
            end = host.end()
            yield match.start() - len(name), end


def as_sent(address: str) -> str:
    """Return an address as mails are sent to it: one that is written for people with its signs, any other as it is."""
    if match := _AT.search(address):
        address = f"{address[: match.start()]}@{address[match.end() :]}"
    return _DOT.sub(".", address)


def _is_name(name: str, before: str, *, said: bool) -> bool:
    """Distinguish a name before at from any other word, and one before @ from what is multiplied."""
    if name.lower() in _EVERYDAY or len(name) == 1 or name.isupper():
        return False
    return (
        _DESCRIPTIVE.search(name) is not None or _ANNOUNCED.search(before) is not None or (not said and len(name) > 1)
    )
