"""Values of the API's enums, as people write and read them: `running` for TRAINING_RUN_STATE_RUNNING."""

import re
from typing import Any

from tidemill_core.errors import InvalidInput

_QUOTED = 40


def name_of(enum: Any, value: int) -> str:  # noqa: ANN401 - generated enums have no type in common
    """Return a value's name, in lower case and without the enum's own name."""
    name: str = enum.Name(value)
    return name.removeprefix(_prefix(enum)).lower()


def value_of(enum: Any, name: str, *, field: str) -> Any:  # noqa: ANN401 - of the enum's own type
    """Return the value that a caller named in `field`.

    Raises:
        InvalidInput: there is no such value; it lists those that there are.

    """
    known = [name_of(enum, value) for value in enum.values()[1:]]
    if name not in known:
        raise InvalidInput.at(field=field, text=f"is {name[:_QUOTED]!r}; use one of {', '.join(known)}")
    return enum.Value(f"{_prefix(enum)}{name.upper()}")


def _prefix(enum: Any) -> str:  # noqa: ANN401 - ditto
    return re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
