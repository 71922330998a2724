"""Identifiers that masking is measured on, and what looks like one: made at random, with right check digits."""

import hashlib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import TypeVar
from uuid import UUID

import phonenumbers
from phonenumbers import PhoneNumberFormat
from stdnum import ean, iban, isbn, luhn

T = TypeVar("T")
UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
ALNUM = UPPER + LOWER + DIGITS
_GIVEN = ["anna", "jan", "marie", "luca", "sofia", "peter", "ines", "pawel", "joao", "ewa", "karin", "tom"]
_FAMILY = ["schmidt", "rossi", "garcia", "durand", "novak", "jansen", "silva", "kowalski", "roe", "lind"]
_HOSTS = [
    "acme.com",
    "firma.de",
    "exemple.fr",
    "empresa.es",
    "azienda.it",
    "bedrijf.nl",
    "empresa.pt",
    "firma.pl",
    "acme.co.uk",
]
_ACCOUNTS = {
    "en": ("GB", "AAAA00000000000000"),
    "de": ("DE", "0" * 18),
    "fr": ("FR", "0" * 23),
    "es": ("ES", "0" * 20),
    "it": ("IT", "A" + "0" * 22),
    "pt": ("PT", "0" * 21),
    "nl": ("NL", "AAAA" + "0" * 10),
    "pl": ("PL", "0" * 24),
}
"""Country and form of the account number, a letter for a letter and a digit for a digit."""
REGIONS = {"en": "US", "de": "DE", "fr": "FR", "es": "ES", "it": "IT", "pt": "PT", "nl": "NL", "pl": "PL"}


@dataclass(frozen=True, slots=True)
class Made:
    """Makes values of one language; the same seed makes the same ones."""

    random: Random
    language: str

    def digits(self, count: int) -> str:
        """Return random digits."""
        return self.of(DIGITS, count)

    def email(self) -> str:
        """Return an address."""
        given, family = self.one(_GIVEN), self.one(_FAMILY)
        local = self.one((f"{given}.{family}", f"{given[0]}{family}", f"{family}_{self.digits(2)}", f"{given}+news"))
        return f"{local}@{self.one(_HOSTS)}"

    def phone(self) -> str:
        """Return a valid number of the language's country, as it is written abroad or, half of them, at home."""
        number = phonenumbers.example_number(REGIONS[self.language])
        assert number is not None
        while True:
            national = str(number.national_number)
            number.national_number = int(national[:-5] + self.digits(5))
            if phonenumbers.is_valid_number(number):
                break
        form = PhoneNumberFormat.NATIONAL if self.random.random() < 0.5 else PhoneNumberFormat.INTERNATIONAL
        return str(phonenumbers.format_number(number, form))

    def iban(self) -> str:
        """Return an account number of the language's country."""
        country, form = _ACCOUNTS[self.language]
        while True:
            account = "".join(self.one(UPPER if each == "A" else DIGITS) for each in form)
            moved = "".join(str(int(each, 36)) for each in f"{account}{country}00")
            compact = f"{country}{98 - int(moved) % 97:02}{account}"
            if iban.is_valid(compact):
                groups = (compact[start : start + 4] for start in range(0, len(compact), 4))
                return self.one((compact, " ".join(groups)))

    def card(self) -> str:
        """Return a card number of a large network."""
        network, groups = self.one(
            (("4", (4, 4, 4, 4)), ("53", (4, 4, 4, 4)), ("37", (4, 6, 5)), ("6011", (4, 4, 4, 4)))
        )
        body = network + self.digits(sum(groups) - len(network) - 1)
        number, parts, start = body + luhn.calc_check_digit(body), [], 0
        for length in groups:
            parts.append(number[start : start + length])
            start += length
        return self.one(("", " ", "-")).join(parts)

    def ip(self) -> str:
        """Return an address, one of four of IPv6."""
        if self.random.random() < 0.25:
            return "2001:db8:" + ":".join(self.of("0123456789abcdef", 4).lstrip("0") or "0" for _ in range(6))
        first = self.one(("10", "172.16", "192.168", str(self.random.randint(40, 223))))
        rest = [str(self.random.randint(1, 254)) for _ in range(3 - first.count("."))]
        return ".".join([first, *rest])

    def credential(self) -> str:
        """Return a token in a provider's form."""
        forms = (
            "AKIA" + self.of(UPPER + "234567", 16),
            "ghp_" + self.of(ALNUM, 36),
            "hf_" + self.of(ALNUM, 34),
            "xoxb-" + self.digits(12) + "-" + self.of(ALNUM, 24),
            "sk-proj-" + "a1B" + self.of(ALNUM, 30),
        )
        return self.one(forms)

    def password(self) -> str:
        """Return a password that is no word."""
        return self.of(UPPER, 1) + self.of(LOWER, 6) + self.digits(3)

    def national_id(self, country: str) -> str:
        """Return a number of a person, as its country writes it."""
        return NATIONAL[country](self)

    def one(self, choices: Sequence[T]) -> T:
        """Return one of them."""
        return self.random.choice(choices)

    def of(self, characters: str, count: int) -> str:
        """Return random characters."""
        return "".join(self.random.choices(characters, k=count))

    def valid(self, module: str, draw: Callable[[], str]) -> str:
        """Return what the library says is valid, of as many draws as it takes."""
        is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
        while True:
            if is_valid(drawn := draw()):
                return drawn

    def birthday(self, order: str = "ymd") -> str:
        """Return six digits."""
        parts = {"y": self.random.randint(40, 99), "m": self.random.randint(1, 12), "d": self.random.randint(1, 28)}
        return "".join(f"{parts[each]:02}" for each in order)


def _grouped(number: str, groups: Sequence[int], separator: str = " ") -> str:
    parts, start = [], 0
    for length in groups:
        parts.append(number[start : start + length])
        start += length
    return separator.join(parts)


def _social_security(made: Made) -> str:
    return made.valid("us.ssn", lambda: f"{made.digits(3)}-{made.digits(2)}-{made.digits(4)}")


def _national_insurance(made: Made) -> str:
    letters = made.one(("AB", "CE", "JK", "LM", "NP", "RS", "SX", "WY"))
    return _grouped(letters + made.digits(6) + made.one("ABCD"), (2, 2, 2, 2, 1))


def _tax_id_germany(made: Made) -> str:
    return _grouped(made.valid("de.idnr", lambda: made.one("123456789") + made.digits(10)), (2, 3, 3, 3))


def _insurance_germany(made: Made) -> str:
    """Return a number of the pension insurance; its check digit is that of VKVZV, section 4."""
    letter, body = made.one(UPPER), made.one(("12", "15", "44", "65")) + made.birthday("dmy")
    serial = made.digits(2)
    weighed = zip(f"{body}{ord(letter) - 64:02}{serial}", (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)
    total = sum(sum(map(int, str(int(digit) * weight))) for digit, weight in weighed)
    return _grouped(f"{body}{letter}{serial}{total % 10}", (2, 6, 1, 3))


def _nir(made: Made) -> str:
    month, department = made.random.randint(1, 12), made.random.randint(1, 95)
    body = f"{made.one('12')}{made.random.randint(40, 99)}{month:02}{department:02}{made.digits(6)}"
    return _grouped(f"{body}{97 - int(body) % 97:02}", (1, 2, 2, 2, 3, 3, 2))


def _codice_fiscale(made: Made) -> str:
    def draw() -> str:
        names = made.of("BCDFGLMNPRSTVZ", 6)
        return f"{names}{made.digits(2)}{made.one('ABCDEHLMPRST')}{made.digits(2)}H{made.digits(3)}{made.one(UPPER)}"

    return made.valid("it.codicefiscale", draw)


def _curp(made: Made) -> str:
    def draw() -> str:
        return f"GARC{made.birthday()}{made.one('HM')}DF{made.of('BCDFGHJKLM', 3)}0{made.one(DIGITS)}"

    return made.valid("mx.curp", draw)


NATIONAL: Mapping[str, Callable[[Made], str]] = {
    "us": _social_security,
    "gb": _national_insurance,
    "de": _tax_id_germany,
    "de insurance": _insurance_germany,
    "fr": _nir,
    "es": lambda made: made.valid("es.dni", lambda: made.digits(8) + made.one(UPPER)),
    "es foreign": lambda made: made.valid("es.nie", lambda: made.one("XYZ") + made.digits(7) + made.one(UPPER)),
    "mx": _curp,
    "cl": lambda made: made.valid(
        "cl.rut", lambda: f"1{made.digits(1)}.{made.digits(3)}.{made.digits(3)}-{made.digits(1)}"
    ),
    "it": _codice_fiscale,
    "pt": lambda made: made.valid("pt.nif", lambda: made.one("123") + made.digits(8)),
    "br": lambda made: made.valid(
        "br.cpf", lambda: f"{made.digits(3)}.{made.digits(3)}.{made.digits(3)}-{made.digits(2)}"
    ),
    "nl": lambda made: made.valid("nl.bsn", lambda: made.digits(9)),
    "be": lambda made: made.valid(
        "be.nn", lambda: _grouped(made.birthday(), (2, 2, 2), ".") + f"-{made.digits(3)}.{made.digits(2)}"
    ),
    "pl": lambda made: made.valid("pl.pesel", lambda: made.birthday() + made.digits(5)),
    "ch": lambda made: made.valid("ch.ssn", lambda: f"756.{made.digits(4)}.{made.digits(4)}.{made.digits(2)}"),
}
"""How each country's number is made; some have two."""


def _isbn(made: Made) -> str:
    return str(isbn.format(made.valid("isbn", lambda: "978" + made.one("03") + made.digits(9))))


def _four_small(made: Made) -> str:
    return ".".join(str(made.random.randint(0, top)) for top in (20, 20, 30, 60))


LOOKALIKES: Mapping[str, Callable[[Made], str]] = {
    "version": lambda made: ".".join(str(made.random.randint(0, 40)) for _ in range(made.one((3, 3, 4)))),
    "build": _four_small,
    "order": lambda made: made.one(
        (
            f"{made.digits(10)}",
            f"2026-{made.digits(4)}-{made.digits(4)}",
            f"PO-{made.digits(8)}",
            f"{made.of(UPPER, 2)}{made.digits(6)}{made.one('XYZ')}",
            f"{made.digits(3)}-{made.digits(7)}-{made.digits(7)}",
        )
    ),
    "hash": lambda made: made.one((hashlib.sha256, hashlib.md5, hashlib.sha1))(made.digits(9).encode()).hexdigest(),
    "commit": lambda made: made.of("0123456789abcdef", made.one((7, 8, 12, 40))),
    "uuid": lambda made: str(UUID(int=made.random.getrandbits(128), version=4)),
    "isbn": _isbn,
    "ean": lambda made: (body := "40" + made.digits(10)) + str(ean.calc_check_digit(body)),
    "date": lambda made: made.one(
        (
            f"2026-{made.random.randint(1, 12):02}-{made.random.randint(1, 28):02}",
            f"{made.random.randint(1, 28):02}.{made.random.randint(1, 12):02}.2026",
            f"{made.random.randint(1, 28):02}/{made.random.randint(1, 12):02}/2026 {made.random.randint(0, 23):02}:30",
        )
    ),
    "amount": lambda made: made.one(
        (
            f"{made.random.randint(1, 99)}.{made.digits(3)}.{made.digits(3)},{made.digits(2)}",
            f"{made.random.randint(1, 99)},{made.digits(3)},{made.digits(3)}.{made.digits(2)}",
            f"{made.random.randint(1, 9)} {made.digits(3)} {made.digits(3)}",
        )
    ),
    "timestamp": lambda made: made.one(("17", "16")) + made.digits(made.one((8, 11, 14))),
    "tracking": lambda made: made.one(
        ("1Z" + made.of(UPPER + DIGITS, 16), "RR" + made.digits(9) + "DE", made.digits(12))
    ),
    "coordinates": lambda made: f"{made.random.uniform(-80, 80):.6f}, {made.random.uniform(-170, 170):.6f}",
    "code": lambda made: made.one(
        (
            f"range({made.digits(4)}, {made.digits(7)})",
            f"x = [{made.digits(3)}, {made.digits(3)}, {made.digits(4)}]",
            f"token = parser.next_{made.of(LOWER, 6)}(value_{made.digits(2)})",
            f"@app.{made.of(LOWER, 5)}('/v{made.digits(1)}')",
            f"if (a::{made.digits(1)} == 0x{made.of('0123456789abcdef', 8)}) return {made.digits(9)};",
            f"pip install {made.of(LOWER, 6)}=={_four_small(made)}",
            f"row.id == {made.digits(9)} and row.next > {made.digits(10)}",
        )
    ),
}
"""What must stay, by what it is."""
