"""Identifiers in questions: letters, then digits, as in M-4200, GK-9931 or F24."""

import re
from collections.abc import Sequence
from typing import Final

MAX_IDENTIFIERS: Final = 5
"""Of a question; the first ones count."""
_IDENTIFIER: Final = re.compile(r"(?<![\w.-])([^\W\d_]{1,12})[-_./]?(\d{1,20})(?!\w)")


def is_one_missing(question: str, texts: Sequence[str]) -> bool:
    """Return whether the question names an identifier that none of the texts has, however its parts are joined."""
    named = [match.groups() for match in _IDENTIFIER.finditer(question.casefold())][:MAX_IDENTIFIERS]
    if not named:
        return False
    read = "\n".join(texts).casefold()
    return any(re.search(rf"(?<![^\W\d_]){letters}[-_./\s]?{digits}(?!\d)", read) is None for letters, digits in named)
