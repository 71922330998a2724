"""Answers that are meant to be JSON."""

import json
from typing import Any

_MAX_DIGITS = 4000
"""Of a whole number; longer ones are read as floats, since Python refuses them."""


def read_json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a text that is JSON by RFC 8259, and nothing else: no fence around it, no NaN.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.

    """
    return json.loads(text, parse_constant=_refuse, parse_int=_whole)


def is_json(text: str) -> bool:
    """Return whether a text is JSON; one that is nested too deep to be read is not."""
    try:
        read_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
