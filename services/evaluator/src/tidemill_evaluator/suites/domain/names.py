"""Names of slugs, versions and sets of cases."""

import re

from tidemill_core.errors import Violation

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"([a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)@([1-9][0-9]{0,8})")


def slug_violation(value: str, field: str) -> list[Violation]:
    """Return the violation of a slug, if any."""
    if SLUG.fullmatch(value):
        return []
    rule = "use 1 to 63 characters of a-z, 0-9, _ and -, starting and ending with a-z or 0-9"
    text = f"{value[:80]!r} is not a valid id: {rule}"
    return [Violation(field=field, description=text)]


def version_violation(value: str, field: str) -> list[Violation]:
    """Return the violation of `name@number`, if any."""
    if _VERSION.fullmatch(value):
        return []
    return [Violation(field=field, description=f"{value[:80]!r} is not a version: use `model@number`")]


def name_of(version: str) -> str:
    """Return the name in `name@number`, or ""."""
    return version.partition("@")[0]


def number_of(version: str) -> int:
    """Return the number in `name@number`, or 0."""
    found = _VERSION.fullmatch(version)
    return int(found[2]) if found else 0
