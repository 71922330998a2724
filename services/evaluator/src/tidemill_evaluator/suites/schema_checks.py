"""What is wrong with JSON Schemas of cases; loads jsonschema in bounded processes only."""

import json
from collections.abc import Sequence

IMPORTS = ("tidemill_kit.texts.json_schemas", __name__)
"""What a process has to load before its work."""
_MAX_SHOWN = 200


def all_wrong_schemas(schemas: Sequence[str]) -> list[str]:
    """Return what is wrong with each, with the place in it; "" where nothing is."""
    return [_wrong_with(schema) for schema in schemas]


def _wrong_with(schema: str) -> str:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see IMPORTS
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - see IMPORTS

    from tidemill_kit.texts.json_schemas import wrong_with  # noqa: PLC0415 - see IMPORTS

    if wrong := wrong_with(schema):
        return wrong
    try:
        Draft202012Validator.check_schema(json.loads(schema), Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:  # a pattern that cannot be compiled
        return f"is no JSON Schema at {error.json_path[:_MAX_SHOWN]}: {error.message[:_MAX_SHOWN]}"
    return ""
