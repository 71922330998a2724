"""Bodies of events: what a route's model reads of one, or what is wrong with it, for a bounded amount of work."""

import math
from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import from_json

from tidemill_core.errors import InvalidInput, Violation, named

MAX_VALUES = 10_000
"""Objects, lists and other values of one body, at any depth: a wrong one costs more than the bytes that it has."""
_SHOWN_VIOLATIONS = 20

M = TypeVar("M", bound=BaseModel)


class InvalidBody(InvalidInput):
    """An event's body is not what its type promises."""

    reason = "INVALID_BODY"


def without_prefix(prefix: str) -> BeforeValidator:
    """Return what reads a value of an enum of the contract, such as `EVALUATION_STATE_QUEUED`, as `QUEUED`."""
    return BeforeValidator(lambda name: name.removeprefix(prefix) if isinstance(name, str) else name)


def double(number: float) -> float:
    """Return a number of JSON as a double, as which one that is too large is infinite: the field's rule refuses it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def body_of(model: type[M], data: bytes) -> M:
    """Return what the body says.

    Raises:
        InvalidBody: it names the fields that are wrong, without any value.

    """
    if len(data) >= MAX_VALUES and _may_have_too_many(data) and _has_too_many(data):
        text = f"has more than {MAX_VALUES} values: send less in one event"
        raise InvalidBody.of(Violation(field="body", description=text))
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _invalid_body(error) from None


def _may_have_too_many(data: bytes) -> bool:
    """Return False where that is certain: each value follows a comma or a bracket, and texts have more of them."""
    return data.count(b",") + data.count(b"[") + data.count(b"{") >= MAX_VALUES


def _has_too_many(data: bytes) -> bool:
    try:
        parts: list[Any] = [[from_json(data)]]
    except ValueError:
        return False  # the model says what is wrong
    count = -1  # what the whole is in
    while parts and count <= MAX_VALUES:
        part = parts.pop()
        if isinstance(part, dict):
            part = part.values()
        count += len(part)
        if count <= MAX_VALUES:
            parts += (each for each in part if isinstance(each, dict | list))
    return count > MAX_VALUES


def _invalid_body(error: ValidationError) -> InvalidBody:
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_VIOLATIONS]
    return InvalidBody.of(
        *(
            Violation(
                field=".".join((str(part) if isinstance(part, int) else named(part)) for part in problem["loc"])
                or "body",
                description=problem["msg"],
            )
            for problem in problems
        )
    )
