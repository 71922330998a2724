"""Types of the loop.yaml schema: names, references, durations and sizes."""

import json
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from tidemill_cli.loop.durations import UNITS_S

SLUG = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"
REFERENCE = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(@[a-z0-9_-]{1,63})?$"
_OWNER = r"([a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?/)?"
VERSION = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?@[1-9][0-9]{0,8}$"
SHARED_REFERENCE = REFERENCE.replace("^", f"^{_OWNER}", 1)
_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_LONGEST = 8
"""Maximum characters of a duration or size, so that the value fits its message."""

Slug = Annotated[str, Field(pattern=SLUG)]
Reference = Annotated[str, Field(pattern=REFERENCE, description="name, name@version or name@label")]
SharedSlug = Annotated[
    str,
    Field(pattern=SLUG.replace("^", f"^{_OWNER}", 1), description="name, or project/name of what a project shares"),
]
SharedReference = Annotated[
    str,
    Field(
        pattern=SHARED_REFERENCE,
        description="name, name@version or name@label; project/name of what another project shares",
    ),
]
SecretName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")]
Share = Annotated[float, Field(ge=0, le=1)]


def _duration(value: object) -> object:
    """Read "90s", "30m", "24h" or "730d"."""
    if isinstance(value, str) and value[:-1].isdecimal() and value[-1:] in UNITS_S and len(value) <= _LONGEST:
        return timedelta(seconds=int(value[:-1]) * UNITS_S[value[-1]])
    message = "must be a whole number and a unit: 90s, 30m, 24h or 730d"
    raise ValueError(message)


def _short_duration(value: object) -> object:
    """Read "500ms", or what a duration may be."""
    if isinstance(value, str) and value[:-2].isdecimal() and value.endswith("ms") and len(value) <= _LONGEST:
        return timedelta(milliseconds=int(value[:-2]))
    return _duration(value)


def _size(value: object) -> object:
    """Read "512Mi" or "6Gi"."""
    if isinstance(value, str) and value[:-2].isdecimal() and value[-2:] in _BYTES and len(value) <= _LONGEST:
        return int(value[:-2]) * _BYTES[value[-2:]]
    message = "must be a whole number and a unit (512Mi, 6Gi), or auto"
    raise ValueError(message)


def _memory(value: object) -> object:
    """Read "6Gi", or "auto"."""
    return value if value == "auto" else _size(value)


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    """Reject values that protobuf cannot represent, such as dates and infinities."""
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            message = f"{name}: must be a number, a string, true, false, a list or a map"
            raise ValueError(message) from None
    return values


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["60s", "730d"]}),
]
ShortDuration = Annotated[
    timedelta,
    BeforeValidator(_short_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ms|[smhd])$", "examples": ["500ms", "5s"]}),
]
Memory = Annotated[
    int | Literal["auto"],
    BeforeValidator(_memory),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(auto|[0-9]+(Ki|Mi|Gi|Ti))$",
            "examples": ["auto", "512Mi", "6Gi"],
            "description": "auto picks batch, accumulation and checkpointing that fit what the machine has left",
        }
    ),
]
Settings = Annotated[dict[str, Any], AfterValidator(_settings)]


class Declared(BaseModel):
    """Base of all sections; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FromFile(Declared):
    """Text that is read from a file, relative to the loop's."""

    file: str
