"""Gives identifiers their pseudonyms, and remembers what these stand for. Runs where documents are processed."""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from tidemill_ingest.masking.kinds import DEFAULT_PHONE_REGIONS, MaskKind
from tidemill_ingest.masking.tokens import token_of
from tidemill_ingest.masking.written_addresses import as_sent

_SEPARATORS, _NO_DIGITS = re.compile(r"[\W_]+"), re.compile(r"\D+")
_FEWEST_WITH_EXIT_CODE = 10


@dataclass(slots=True)
class Pseudonyms:
    """Of one document. Credentials have none: what lets a reader in is not kept, however well it is locked up."""

    key: bytes = field(repr=False)
    """The project's key of tokens."""
    phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
    values: dict[str, str] = field(default_factory=dict, repr=False)
    """The pseudonyms so far, with their value as it was written first."""
    _plain: dict[str, str] = field(default_factory=dict, repr=False)

    def of(self, kind: MaskKind, value: str) -> str:
        """Return what stands for a value: a pseudonym, or the placeholder of its kind."""
        if kind is MaskKind.CREDENTIAL:
            return kind.placeholder
        plain = plain_form(kind, value, tuple(self.phone_regions))
        token = token_of(self.key, kind, plain)
        if self._plain.setdefault(token, plain) != plain:  # two values with one token: it would mean either
            return kind.placeholder
        self.values.setdefault(token, value)
        return token


def plain_form(kind: MaskKind, value: str, phone_regions: tuple[str, ...] = DEFAULT_PHONE_REGIONS) -> str:
    """Return a value as all its spellings have it in common."""
    value = unicodedata.normalize("NFKC", value)
    if kind is MaskKind.EMAIL:
        return _address(value)
    if kind is MaskKind.PHONE:
        return _phone(" ".join(value.split()), phone_regions)
    if kind is MaskKind.IP:
        return _ip(value)
    if kind is MaskKind.CARD:
        return _NO_DIGITS.sub("", value)
    if kind in (MaskKind.IBAN, MaskKind.NATIONAL_ID):
        return _SEPARATORS.sub("", value).upper()
    return " ".join(value.casefold().split())


def _address(value: str) -> str:
    """Return an e-mail address in lower case, its host in ASCII: no provider distinguishes Ada@ and ada@."""
    local, at, host = as_sent(value).rpartition("@")
    with suppress(UnicodeError):
        host = host.encode("idna").decode()
    return f"{local}{at}{host}".casefold().rstrip(".")


def _ip(value: str) -> str:
    try:
        return ipaddress.ip_address(value).compressed
    except ValueError:
        return value.casefold()


@lru_cache(maxsize=4096)
def _phone(value: str, regions: tuple[str, ...]) -> str:
    """Return a number as E.164 has it: a national one of the first of the regions in which it is valid."""
    digits = _NO_DIGITS.sub("", value)
    if value.lstrip("(").startswith("+"):
        return _e164(value, None) or "+" + digits
    if digits.startswith("00") and len(digits) >= _FEWEST_WITH_EXIT_CODE and (found := _e164("+" + digits[2:], None)):
        return found
    national = (found for region in regions if (found := _e164(value, region)))
    return next(national, "") or _e164("+" + digits, None) or digits


def _e164(value: str, region: str | None) -> str:
    import phonenumbers  # noqa: PLC0415 - the service imports this module, and its processes alone need the library

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
