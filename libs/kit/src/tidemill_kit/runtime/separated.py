"""Settings that hold several texts."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _separated(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


Separated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)]
"""Texts that one variable holds, separated by commas."""
