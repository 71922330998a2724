"""JSON bodies: no unknown fields, no conversions, and every problem reported with its field."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, from_json

from tidemill_core.errors import InvalidInput, Violation
from tidemill_kit.http.errors import shown

SHOWN_VIOLATIONS = 12
MAX_NAMES = 25_000
"""Of all objects of a body together; ten thousand parts of messages have twenty thousand."""
MAX_BRACKETS = 200_000
"""Opening brackets, those in texts too, which is how many objects and lists a body has at most."""

_Body = TypeVar("_Body", bound="Strict")


def _without_nulls(given: object) -> object:
    return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


class Strict(BaseModel):
    """Nothing unknown, nothing converted; null is the same as leaving out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    _leave_nulls_out = model_validator(mode="before")(_without_nulls)


def object_of(body: bytes) -> Mapping[str, Any]:
    """Return the object that a body is.

    Raises:
        InvalidInput: it is none.

    """
    if (brackets := body.count(b"[") + body.count(b"{")) > MAX_BRACKETS:
        text = f"has {brackets} opening brackets; the limit is {MAX_BRACKETS}: send less"
        raise InvalidInput.at(field="body", text=text)
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput.at(field="body", text=f"is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidInput.at(field="body", text="is not a JSON object")
    json.loads(body, object_pairs_hook=_Names().check)
    return given


class _Names:
    """Checks the names in each object of a body, and counts them all, since each wrong one would be reported."""

    def __init__(self) -> None:
        self._count = 0

    def check(self, pairs: list[tuple[str, object]]) -> None:
        """Refuse duplicate names: a gateway that checked the body may have read the other value."""
        self._count += len(pairs)
        if self._count > MAX_NAMES:
            raise InvalidInput.at(field="body", text=f"has more than {MAX_NAMES} names in its objects")
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInput.at(field=shown(name), text="occurs twice in one object: send it once")
            seen.add(name)


def body_of(kind: type[_Body], body: bytes) -> _Body:
    """Return what a body says.

    Raises:
        InvalidInput: names every field that is missing, wrong or not supported.

    """
    try:
        return kind.model_validate(object_of(body))
    except ValidationError as error:
        raise InvalidInput.of(*problems(error)[:SHOWN_VIOLATIONS]) from error


def problems(error: ValidationError) -> list[Violation]:
    """Return every problem and its place; a value, which may be a user's words, only where the choice is fixed."""
    found = error.errors(include_url=False, include_context=True)
    return [Violation(_path(each["loc"]), _why(each)) for each in found]


def _why(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not supported: leave it out"
        case "literal_error":
            return f"is {shown(str(problem['input']))}; supported: {problem['ctx']['expected']}"
        case _:
            text = problem["msg"].removeprefix("Value error, ")
            return text[:1].lower() + text[1:]


def _path(location: tuple[int | str, ...]) -> str:
    """Return a place as `messages[0].content[1].type`; the body as a whole is `body`."""
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in location).lstrip(".")
    return shown(path) or "body"
