"""Finds the numbers by which states know people: of identity, social security, health, tax and travel.

A number's form is a country's own and its check digits are right (python-stdnum). Some are written so that nothing else
is; others look like any number, and count only behind a word that announces them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from tidemill_ingest.masking.contacts import OTHER_NUMBER
from tidemill_ingest.masking.spans import Span, window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How a number is written, and whose it may be: modules of stdnum."""

    written: str
    distinctive: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()


_UNCHECKED = "unchecked"
_GERMAN_INSURANCE = "german insurance"
_ELEVEN = (
    *("de.idnr", "pl.pesel", "tr.tckimlik", "no.fodselsnummer", "ee.ik", "lt.asmens", "hr.oib", "gr.amka"),
    *("be.nn", "br.cpf"),
)
_TEN = ("gb.nhs", "se.personnummer", "dk.cpr", "bg.egn", "at.vnr", "cz.rc")
_NINE = ("us.ssn", "us.itin", "nl.bsn", "ca.sin", "au.tfn", "pt.nif", "il.idnr")
_DATE = r"\d\d[0156]\d[0-7]\d"
"""Six digits with a month in the middle; some countries add 50 to it, or 40 to the day."""
_FORMS = (
    # Letters first: Italy, Mexico, United Kingdom, India, Spain, Ireland, Finland, Germany.
    _Form(
        written=r"[A-Z]{3} ?[A-Z]{3} ?[\dLMNP-V]{2}[A-EHLMPRST][\dLMNP-V]{2} ?[A-Z][\dLMNP-V]{3} ?[A-Z]",
        distinctive=("it.codicefiscale",),
    ),
    _Form(written=rf"[A-Z]{{4}}{_DATE}[HMX][A-Z]{{5}}[A-Z\d]\d", distinctive=("mx.curp",)),
    _Form(
        written=r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: \d\d){3} [A-D]",
        distinctive=(_UNCHECKED,),
    ),
    _Form(
        written=r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{6} ?[A-D]", announced=(_UNCHECKED,)
    ),
    _Form(written=r"[A-Z]{5}\d{4}[A-Z]", announced=("in_.pan",)),
    _Form(written=r"[XYZ][ -]?\d{7}[ -]?[A-Z]", announced=("es.nie",)),
    _Form(written=r"(?:\d{8}|\d\d\.\d{3}\.\d{3})[ -]?[A-Z]", announced=("es.dni",)),
    _Form(written=r"\d{7}[A-W][A-IW]?", announced=("ie.pps",)),
    _Form(written=r"[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[\dA-FHJ-NPR-Y]", distinctive=("fi.hetu",)),
    _Form(written=r"\d\d ?[0-9]\d[01]\d{3} ?[A-Z] ?\d\d ?\d", distinctive=(_GERMAN_INSURANCE,)),
    # Digits, the longest first: China, France, Switzerland, Romania and South Africa, Korea, Belgium, Brazil.
    _Form(written=r"[1-9]\d{5}(?:19|20)\d{9}[\dX]", distinctive=("cn.ric",)),
    _Form(
        written=r"[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", distinctive=("fr.nir",)
    ),
    _Form(written=r"756\.\d{4}\.\d{4}\.\d\d", distinctive=("ch.ssn",)),
    _Form(written=rf"{_DATE}-[1-8]\d{{6}}", distinctive=("kr.rrn",)),
    _Form(written=r"\d{13}|\d{6} \d{4} \d{3}|756 \d{4} \d{4} \d\d", announced=("ro.cnp", "za.idnr", "ch.ssn")),
    _Form(written=r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", distinctive=("be.nn",)),
    _Form(written=r"\d{3}\.\d{3}\.\d{3}-\d\d", distinctive=("br.cpf",)),
    _Form(written=r"\d{6} \d{5}", distinctive=("no.fodselsnummer",), announced=_ELEVEN),
    _Form(written=r"\d{11}|\d{6}-\d{5}|\d\d \d{3} \d{3} \d{3}|\d{3} \d{3} \d{3} \d\d", announced=_ELEVEN),
    _Form(written=r"\d{8}[-+]?\d{4}|\d{4}[ -]\d{4}[ -]\d{4}", announced=("in_.aadhaar", "se.personnummer")),
    # Sweden and Denmark, the Czech Republic, the United Kingdom, Austria, the United States, Chile, Argentina.
    _Form(written=r"\d\d[01]\d[0-3]\d[-+]\d{4}", distinctive=("se.personnummer",), announced=_TEN),
    _Form(written=rf"{_DATE}/\d{{3,4}}", distinctive=("cz.rc",)),
    _Form(written=r"\d{10}|\d{3}[ -]\d{3}[ -]\d{4}|\d{4} \d{6}|\d{6}[- ]\d{4}", announced=_TEN),
    _Form(written=r"\d{3}-\d\d-\d{4}", distinctive=("us.ssn", "us.itin")),
    _Form(written=r"\d{3}[ .-]?\d{3}[ .-]?\d{3}|\d{3} \d\d \d{4}|\d{4}[ .]\d\d[ .]\d{3}", announced=_NINE),
    _Form(written=r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", distinctive=("cl.rut",)),
    _Form(written=r"\d{7,8}-[\dKk]", announced=("cl.rut",)),
    _Form(written=r"\d{1,2}\.?\d{3}\.?\d{3}", announced=("ar.dni",)),
)
_BEGIN = re.compile(r"[A-Z\d](?:(?<=\d)[\d .+/-]{5}|(?<=[A-Z])[A-Z ]{0,7}\d[\dA-Z -]{4})")
"""What may begin one; that it begins with a class of characters lets it skip prose ten times as fast."""
_NUMBER = re.compile(
    r"(?<![^\W_])(?<!\d[.,/:-])(?<![#$%/\\@])(?:"
    + "|".join(f"(?P<form_{number}>{form.written})" for number, form in enumerate(_FORMS))
    + r"|(?P<passport>[A-Z]{1,3}\d{6,8}|[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ\d]{7}\d))"
    r"(?!\w|[.,:/-]\d|[-/][A-Z]\d)"
)
_LINKED = (
    r"(?:[ _-]?(?:numbers?|nummer|num[eé]ro|n[úu]mero|numero|code|n[ro]|n[°º]|no|id|card|karte|#))?[.\"'`]?"
    r"(?: ?(?:is|ist|lautet|est|es|è|é|jest|är|er|on)\b| ?[:=#|])*[ \"'\[(]*\Z"
)
# "id" alone is not among them: users, orders and rows have one, too.
_WORD = re.compile(
    r"(?i)(?<![^\W_])(?:ssn|itin|tin|sin|nino|tfn|ppsn?|nhs|social (?:security|insurance)|national (?:insurance|id)"
    r"|(?:national )?identity|(?:tax|taxpayer|personal|national)[ _-](?:payer )?(?:id|identification)|tax file"
    r"|steuer-?(?:id|idnr|identifikationsnummer)|steuerliche identifikationsnummer|identifikationsnummer|id-?nr"
    r"|(?:sozial)?versicherungs(?:nummer|nr)|sv-?(?:nummer|nr)|rentenversicherungsnummer|ahv(?:-?(?:nummer|nr))?"
    r"|personalausweis(?:nummer)?"
    r"|s[ée]curit[ée] sociale|s[ée]cu|nir|insee|registre national|num[ée]ro fiscal"
    r"|d\.?n\.?i\.?|n\.?i\.?[ef]\.?|curp|r\.?u\.?t\.?|c[ée]dula|documento (?:nacional|de identidad)|identidad"
    r"|codice fiscale|cod\. ?fisc"
    r"|cpf|contribuinte|cart[ãa]o de cidad[ãa]o|bsn|burgerservice|sofi|rijksregister|insz|pesel"
    r"|rodn[ée] [čc][íi]slo|person(?:nummer|nr|number)|f[øo]dselsnummer|fnr|cpr|henkil[öo]tunnus|hetu"
    r"|tckn|t\.?c\.? ?kimlik|cnp|oib|егн|egn|amka|αμκα|isikukood|asmens kodas|תעודת זהות|ת\.ז|aadhaar|aadhar"
    r"|pan|आधार|주민등록번호|身份证号?码?)" + _LINKED
)
_PASSPORT = re.compile(
    r"(?i)(?<![^\W_])(?:passport|reisepass|pass-?(?:nr|nummer)|passeport|pasaporte|passaporte|passaporto|paspoort"
    r"|paszportu?)" + _LINKED
)
_WINDOW = 50


def find_national_ids(text: str) -> Iterator[Span]:
    """Yield them; one that needs a word in front of it does not count without."""
    place = 0
    while begin := _BEGIN.search(text, place):
        match = _NUMBER.match(text, begin.start())
        if match and _is_id(text, match):
            yield match.span()
            place = match.end()
        else:
            place = _end_of_group(text, begin.start())


def _is_id(text: str, match: re.Match[str]) -> bool:
    before = window(text, match.start(), before=_WINDOW)
    kind = match.lastgroup or ""
    if kind != "passport":
        form = _FORMS[int(kind.removeprefix("form_"))]
        if _WORD.search(before):
            return _valid(match[0], form.distinctive + form.announced)
        if not before.endswith("=") and _valid(match[0], form.distinctive) and not OTHER_NUMBER.search(before):
            return True
    return any(character.isdigit() for character in match[0]) and _PASSPORT.search(before) is not None


def _end_of_group(text: str, start: int) -> int:
    """Return where the group ends: the one behind it may begin a number, though both together are none."""
    end = start + 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return end


@lru_cache(maxsize=4096)
def _valid(number: str, modules: tuple[str, ...]) -> bool:
    return any(_check(module)(number) for module in modules)


@lru_cache(maxsize=64)
def _check(module: str) -> Callable[[str], bool]:
    if module == _UNCHECKED:
        return bool
    if module == _GERMAN_INSURANCE:
        return _is_german_insurance
    check: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return check


def _is_german_insurance(number: str) -> bool:
    """Check one of Germany's pension insurance: area, birthday, initial, serial, check digit (VKVZV, section 4)."""
    compact = number.replace(" ", "")
    day, month = int(compact[2:4]), int(compact[4:6])
    if not (1 <= day % 50 <= 31 and 1 <= month <= 12):  # noqa: PLR2004 - days and months
        return False
    digits = compact[:8] + f"{ord(compact[8]) - ord('A') + 1:02}" + compact[9:11]
    products = (int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(compact[11])


_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
