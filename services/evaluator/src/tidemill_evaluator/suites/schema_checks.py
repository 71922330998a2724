"""What is wrong with JSON Schemas of cases; loads jsonschema in bounded processes only."""

import json
from collections.abc import Iterator, Mapping, Sequence

IMPORTS = ("tidemill_kit.texts.json_schemas", __name__)
"""What a process has to load before its work."""
_MAX_SHOWN = 200
_OF_THE_SAME_VALUE = ("not", "if", "then", "else")
_ALL_OF_THE_SAME_VALUE = ("allOf", "anyOf", "oneOf")


def all_wrong_schemas(schemas: Sequence[str]) -> list[str]:
    """Return what is wrong with each, with the place in it; "" where nothing is."""
    return [_wrong_with(schema) for schema in schemas]


def _wrong_with(schema: str) -> str:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see IMPORTS
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - see IMPORTS

    from tidemill_kit.texts.json_schemas import wrong_with  # noqa: PLC0415 - see IMPORTS

    if wrong := wrong_with(schema):
        return wrong
    known = json.loads(schema)
    try:
        Draft202012Validator.check_schema(known, Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:  # a pattern that cannot be compiled
        return f"is no JSON Schema at {error.json_path[:_MAX_SHOWN]}: {error.message[:_MAX_SHOWN]}"
    return _never_followed(known)


def _never_followed(schema: Mapping[str, object]) -> str:
    """Return why no value can be checked by a valid schema, and where; "" where all can."""
    for place, inside in _inside(schema):
        if isinstance(inside.get("$dynamicRef"), str):
            return f"has a $dynamicRef at {place}, which is not followed: use $ref"
        if inside is not schema and isinstance(inside.get("$id"), str):
            return f"has an $id at {place}: only the whole schema may have one"
    ended = set[int]()
    for place, inside in _inside(schema):
        if _returns(schema, inside, ended):
            return f"refers to itself at {place} without going into the value"
    return ""


def _inside(schema: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield every object in a schema with its place."""
    waiting: list[tuple[str, object]] = [("$", schema)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            yield place, value
            waiting += [(f"{place}.{name}"[:_MAX_SHOWN], each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]"[:_MAX_SHOWN], each) for number, each in enumerate(value)]


def _returns(schema: Mapping[str, object], begin: Mapping[str, object], ended: set[int]) -> bool:
    """Return whether a part of a schema leads back to itself for the same value; `ended` are parts that do not."""
    path = [(begin, _same_value(schema, begin))]
    on_path = {id(begin)}
    while path:
        inside, following = path[-1]
        found = next(following, None)
        if found is None:
            path.pop()
            on_path.discard(id(inside))
            ended.add(id(inside))
        elif id(found) in on_path:
            return True
        elif id(found) not in ended:
            path.append((found, _same_value(schema, found)))
            on_path.add(id(found))
    return False


def _same_value(schema: Mapping[str, object], inside: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the parts that the same value is checked by."""
    reference = inside.get("$ref")
    found = [inside.get(name) for name in _OF_THE_SAME_VALUE]
    if isinstance(reference, str):
        found.append(_target(schema, reference))
    for name in _ALL_OF_THE_SAME_VALUE:
        if isinstance(several := inside.get(name), list):
            found += several
    if isinstance(dependent := inside.get("dependentSchemas"), dict):
        found += dependent.values()
    yield from (each for each in found if isinstance(each, dict))


def _target(schema: Mapping[str, object], reference: str) -> object:
    """Return what a reference that was checked leads to."""
    if reference == "#":
        return schema
    target: object = schema
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        target = target[name] if isinstance(target, dict) else target[int(name)]  # type: ignore[index] # checked
    return target
