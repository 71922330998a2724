"""Names of versions."""

import re

from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG

_VERSION = re.compile(rf"(?:{SLUG.pattern}/)?{SLUG.pattern}@([1-9][0-9]{{0,8}})")
"""Of another project that shares it, `project/name@number`."""


def version_violation(value: str, field: str) -> list[Violation]:
    """Return the violation of `name@number`, if any."""
    if _VERSION.fullmatch(value):
        return []
    return [Violation(field, f"{value[:80]!r} is not a version: use `model@number`")]


def name_of(version: str) -> str:
    """Return the name in `name@number`, or ""."""
    return version.partition("@")[0]


def number_of(version: str) -> int:
    """Return the number in `name@number`, or 0."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else 0
