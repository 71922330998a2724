"""Finds e-mail addresses and phone numbers."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import lru_cache

import phonenumbers
from phonenumbers import Leniency, PhoneNumberMatcher

from tidemill_ingest.masking.spans import Finder, Span, replaced, window

# RFC 5322's dot-atom and a host name of RFC 1035 with letters beyond ASCII (RFC 6531); found from the @ on,
# which is %40 in a URL. What is written behind the top level domain, as in name@host.com_old, is not part of it.
_AT_HOST = re.compile(r"(?:@|%40)(?=\w)(?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,63}|xn--[\w-]{2,59})")
_BACKWARDS_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_QUOTED_LOCAL = re.compile(r'(?<!["\w])"[^"\n@<>]{1,62}"\Z')
_LONGEST_LOCAL = 64
_NOT_LOCAL = "'`/=|{}*#!?&$%^~"
"""Allowed in theory; in front of an address they are quotes, markup, or the query of a URL."""

_DIGITS = re.compile(r"\d[\d ().\-/]{4,40}\d")
_NORTH_AMERICAN = re.compile(r"(?:1[-. ])?(?:\([2-9]\d\d\)[-. ]{0,2}|[2-9]\d\d[-. ]{1,2})[2-9]\d\d[-. ]\d{4}")
_TRUNK = re.compile(r"\(?0[1-9][\d()]*[ /.\-]")
_SLASHED = re.compile(r"\(?0[1-9]\d{1,4}\)? ?/ ?[1-9]")
_DECIMAL = re.compile(r"\d+\.\d+")
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_FIRST, _LAST = r"(?<![\d+])(?<!\d[./-])", r"(?![./-]?\d)"
_NUMBERS = re.compile(r"\d[\d ./,:'-]+")
# Dates, with a time that follows a short one; months and years; amounts in groups; ranges of long numbers.
_NO_PHONES = re.compile(
    rf"{_FIRST}(?:{_DAY}([./-]) ?{_MONTH}\1 ?{_YEAR}|{_MONTH}([/-]){_DAY}\2{_YEAR}|{_YEAR}([./-]){_MONTH}\3{_DAY}"
    rf"|{_DAY}\.{_MONTH}\.\d\d(?=,? \d\d?[.:]\d\d(?!\d))|(?:{_YEAR} ?- ?)?{_MONTH}/{_YEAR}"
    rf"|{_YEAR} ?[-/] ?{_YEAR}|(?P<first>[1-9]\d{{5,9}}) ?- ?(?P<last>[1-9]\d{{5,9}})){_LAST}"
)
_AMOUNT = re.compile(r"(?<![\d+])(?<!\d[.,'])[1-9]\d{0,2}([.,'])\d{3}(?:\1\d{3})+(?:[.,]\d\d?)?(?![.,'-]?\d)")
# What is announced so may be any number; behind a word of every day it has to be a valid one.
_NUMBER_OF = r"(?:[ -]?(?:numbers?|nummer|num[eé]ro|n[ro]|#))?\.?"
_LINKED = r"(?: ?(?:is|ist|est|at|on|us at|me at|unter|au|al|under)\b| ?[:=#|])*[ \"'\[(]*\Z"
_PHONE_WORD = re.compile(
    r"(?i)(?<![^\W_])(?:tele?|phone|telephone|t[ée]l[ée]phone|tel[ée]fono?|telefone|telefoon|fax|telefax|hotline|whatsapp"
    r"|(?:ruf|handy|mobil|telefon|fax)nummer|durchwahl|cell ?phone|mobile ?phone)" + _NUMBER_OF + _LINKED
)
_EVERYDAY_WORD = re.compile(
    r"(?i)(?<![^\W_])(?:mobile?|m[óo]vil|handy|cell|call|dial|sms)(?: (?:me|us))?" + _NUMBER_OF + _LINKED
)
OTHER_NUMBER = re.compile(
    r"(?i)(?<![^\W_])(?:order|part|serial|batch|lot|ticket|invoice|item|article|model|sku|isbn|issn|ean|gtin|imei|build"
    r"|version|case|bestellung|auftrag|teile?|charge|rechnung|artikel|modell|serie|vorgang|commande|pi[èe]ce|s[ée]rie"
    r"|facture|pedido|pieza|lote|factura|[^\W\d_]{3,20}(?:nummer|number|nr))s?"
    r"(?:[ -]?(?:numbers?|nummer|num[eé]ro|n[ro]|no|id|code|#))?[.:#=]? ?\Z"
)
_CALL = re.compile(r"[^\W\d]\w*\(\Z")
_CALLED_PHONE = re.compile(r"(?i)(?:tel|phone|fax|fon)\(\Z")
_WORD_WINDOW = 40
_FEWEST, _MAX_DIGITS, _FEWEST_WITH_EXIT_CODE = 7, 15, 10
"""Digits of a number: E.164 allows 15, and shorter ones than 7 are not distinguished from other numbers."""


class _Hint(Enum):
    """What the words in front of a number say of it."""

    NOTHING = 0
    EVERYDAY = 1
    PHONE = 2


def find_emails(text: str) -> Iterator[Span]:
    """Yield addresses; `git@host` names a repository and stays."""
    for match in _AT_HOST.finditer(text):
        before = window(text, match.start(), before=_LONGEST_LOCAL)
        if quoted := _QUOTED_LOCAL.search(before):
            yield match.start() - len(quoted[0]), match.end()
            continue
        local = _BACKWARDS_LOCAL.match(before[::-1])
        if local is None:
            continue
        name = local[0][::-1]
        for character in _NOT_LOCAL:
            name = name.rpartition(character)[2]
        name = name.lstrip("-")
        if name not in ("", "git"):
            yield match.start() - len(name), match.end()


def phone_finder(regions: Sequence[str]) -> Finder:
    """Return what finds phone numbers: international ones, and national ones as the regions write them."""

    def find_phones(text: str) -> Iterator[Span]:
        text = _without_dates(text)
        for match in _DIGITS.finditer(text):
            start, stop = match.span()
            opened = start > 0 and text[start - 1] == "("
            before = window(text, start - opened, before=_WORD_WINDOW)
            if opened and not _argument(before + "("):
                start -= 1
            elif opened:
                continue
            international = before.endswith("+")
            start, before = start - international, before.removesuffix("+")
            hint = _hint_in(before)
            if _ends_inside_word(text[stop : stop + 2]):
                continue
            if hint is not _Hint.PHONE and _is_no_phone(before, text[start:stop], international=international):
                continue
            for first, last in _found(text[start:stop], tuple(regions), hint):
                yield start + first, start + last

    return find_phones


def _argument(before: str) -> bool:
    """Return whether these are the arguments of a call, as in sleep(1000000)."""
    return _CALL.search(before) is not None and _CALLED_PHONE.search(before) is None


def _hint_in(before: str) -> _Hint:
    if _PHONE_WORD.search(before):
        return _Hint.PHONE
    return _Hint.EVERYDAY if _EVERYDAY_WORD.search(before) else _Hint.NOTHING


def _is_no_phone(before: str, candidate: str, *, international: bool) -> bool:
    """Return whether it is the rest of something longer, a number that its name says is another kind, or an amount."""
    listed = international and before.endswith((":", ","))
    if _begins_inside_word(before) and not listed:
        return True
    return not international and (OTHER_NUMBER.search(before) is not None or _AMOUNT.match(candidate) is not None)


def _without_dates(text: str) -> str:
    """Return the text with dates and ranges of long numbers covered, at its length."""
    covered: list[tuple[Span, str]] = []
    for numbers in _NUMBERS.finditer(text):
        for match in _NO_PHONES.finditer(text, *numbers.span()):
            first, last = match["first"], match["last"]
            if not first or (len(first) == len(last) and first < last):
                covered.append((match.span(), "x" * len(match[0])))
    return replaced(text, covered) if covered else text


def _begins_inside_word(before: str) -> bool:
    """Return whether it is the rest of an identifier, a path, a decimal fraction or a longer number."""
    if before and (before[-1].isalnum() or before[-1] in "_@/=.#$%"):
        return True
    return len(before) > 1 and before[-1] in "-:," and before[-2].isalnum()


def _ends_inside_word(after: str) -> bool:
    if after and (after[0].isalnum() or after[0] in "_@"):
        return True
    return len(after) > 1 and after[0] in ".-/:" and after[1].isalnum()


@lru_cache(maxsize=4096)
def _found(candidate: str, regions: tuple[str, ...], hint: _Hint) -> tuple[Span, ...]:
    """Return where phone numbers are in the candidate."""
    digits = sum(character.isdigit() for character in candidate)
    if digits < _FEWEST or _DECIMAL.fullmatch(candidate.lstrip("+")):
        return ()
    if candidate.startswith("+"):
        return _international(candidate, digits, shift=0)
    if candidate.startswith("00") and digits >= _FEWEST_WITH_EXIT_CODE:
        return _international("+" + candidate[2:], digits, shift=-1)
    if hint is _Hint.PHONE:
        valid = _national(candidate, regions, Leniency.VALID)
        return valid or (_national(candidate, regions, Leniency.POSSIBLE) if digits <= _MAX_DIGITS else ())
    if hint is _Hint.EVERYDAY:
        return _national(candidate, regions, Leniency.VALID) or _international("+" + candidate, digits, shift=1)
    grouped = _NORTH_AMERICAN.match(candidate) or _TRUNK.match(candidate) or _SLASHED.match(candidate)
    leniency = Leniency.VALID if _SLASHED.match(candidate) else Leniency.STRICT_GROUPING
    return _national(candidate, regions, leniency) if grouped else ()


def _international(candidate: str, digits: int, *, shift: int) -> tuple[Span, ...]:
    """Return where a number with + is; `shift` is by how much the candidate is longer than what was written."""
    for found in PhoneNumberMatcher(candidate, None, leniency=Leniency.POSSIBLE):
        possible = phonenumbers.is_valid_number(found.number) or (not shift and digits <= _MAX_DIGITS)
        if possible and found.start == 0:
            return ((0, found.end - shift),)
    return ()


def _national(candidate: str, regions: tuple[str, ...], leniency: int) -> tuple[Span, ...]:
    for region in regions:
        if found := [(match.start, match.end) for match in PhoneNumberMatcher(candidate, region, leniency=leniency)]:
            return tuple(found)
    return ()
