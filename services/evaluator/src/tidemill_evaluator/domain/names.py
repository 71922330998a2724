"""How things are called: slugs, versions and sets of cases."""

import re

from tidemill_kit.core.errors import Violation

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"([a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)@([1-9][0-9]{0,8})")


def slug_violation(value: str, field: str) -> list[Violation]:
    """Return what is wrong with a slug: nothing, or one thing."""
    if SLUG.fullmatch(value):
        return []
    text = f"{value[:80]!r} is no slug: 1 to 63 of a-z, 0-9, _ and -, starting and ending with a-z or 0-9"
    return [Violation(field=field, description=text)]


def version_violation(value: str, field: str) -> list[Violation]:
    """Return what is wrong with `name@number`: nothing, or one thing."""
    if _VERSION.fullmatch(value):
        return []
    return [Violation(field=field, description=f"{value[:80]!r} is no version: write `model@number`")]


def name_of(version: str) -> str:
    """Return the name in `name@number`, and an empty one where there is none."""
    return version.partition("@")[0]


def number_of(version: str) -> int:
    """Return the number in `name@number`, and 0 where there is none."""
    found = _VERSION.fullmatch(version)
    return int(found[2]) if found else 0
