"""What is wrong with a text as a JSON Schema: draft 2020-12. It is a caller's, and is checked in a bounded process.

A service that uses this declares `jsonschema`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

_MAX_DEPTH = 64
_MAX_SHOWN = 200
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


def all_wrong_with(texts: Sequence[str]) -> list[str]:
    """Return what is wrong with each."""
    return [wrong_with(text) for text in texts]


def wrong_with(text: str) -> str:
    """Return what is wrong with a text as a JSON Schema of an object, and where; "" where nothing is."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(schema, dict):
        return "is not a JSON object"
    try:
        for place, inside, depth in _inside(schema):
            if depth > _MAX_DEPTH:
                return f"is deeper than {_MAX_DEPTH} levels at {place}"
            if (why := _wrong_reference(schema, inside)) is not None:
                return f"{place}: {why}"
        Draft202012Validator.check_schema(schema, format_checker=None)  # type: ignore[arg-type] # no pattern is compiled
    except SchemaError as error:
        return f"is no JSON Schema at {error.json_path[:_MAX_SHOWN]}: {error.message[:_MAX_SHOWN]}"
    return ""


def _inside(schema: object) -> Iterator[tuple[str, Mapping[str, object], int]]:
    """Yield every object in a schema, with its place and depth."""
    waiting: list[tuple[str, object, int]] = [("$", schema, 0)]
    while waiting:
        place, value, depth = waiting.pop()
        if isinstance(value, dict):
            yield place, value, depth
            waiting += [(f"{place}.{name}"[:_MAX_SHOWN], each, depth + 1) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]"[:_MAX_SHOWN], each, depth + 1) for number, each in enumerate(value)]


def _wrong_reference(schema: object, inside: Mapping[str, object]) -> str | None:
    """Return what is wrong with a reference; only those within the schema are followed."""
    reference = inside.get("$ref")
    if not isinstance(reference, str) or reference == "#":
        return None
    if not reference.startswith("#/"):
        return f"$ref {reference[:_MAX_SHOWN]!r} leads out of the schema: use one that begins with #/"
    target: object = schema
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and name in target:
            target = target[name]
        elif isinstance(target, list) and _INDEX.fullmatch(name) and int(name) < len(target):
            target = target[int(name)]
        else:
            return f"$ref {reference[:_MAX_SHOWN]!r} leads nowhere"
    return None
