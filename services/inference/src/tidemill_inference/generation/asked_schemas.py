"""JSON Schemas of tools and output formats, checked before anything is made of them: draft 2020-12.

They are a caller's. A check costs milliseconds, so that what was found is kept by the schema's digest.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.question import Question

MAX_CHARACTERS = 64 * 1024
"""Of one schema."""
MAX_ALL_CHARACTERS = 512 * 1024
"""Of all schemas of a question."""
_MAX_DEPTH = 64
_MAX_KEPT = 4096
_MAX_SHOWN = 200
_QUICK_CHARACTERS = 2048
"""What is checked at once; longer ones are checked in a thread."""


class AskedSchemas:
    """Checks the schemas of questions."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, str] = OrderedDict()

    async def check(self, question: Question) -> None:
        """Refuse schemas that are none.

        Raises:
            QuestionRefused: names the schema, the place in it and what is wrong there.

        """
        total = 0
        for field, text in _schemas(question):
            total += len(text)
            if len(text) > MAX_CHARACTERS:
                why = f"has {len(text)} characters; send at most {MAX_CHARACTERS}"
                raise QuestionRefused(field=field, why=why)
            if total > MAX_ALL_CHARACTERS:
                why = f"brings the schemas of this question to {total} characters; send at most {MAX_ALL_CHARACTERS}"
                raise QuestionRefused(field=field, why=why)
            if wrong := await self._wrong(text):
                raise QuestionRefused(field=field, why=wrong)

    async def _wrong(self, text: str) -> str:
        """Return what is wrong with a schema, "" where nothing is."""
        key = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        if (known := self._found.get(key)) is None:
            known = wrong_with(text) if len(text) <= _QUICK_CHARACTERS else await asyncio.to_thread(wrong_with, text)
            self._found[key] = known
            if len(self._found) > _MAX_KEPT:
                self._found.popitem(last=False)
        return known


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
                return f"is deeper than {_MAX_DEPTH} levels at {place[:_MAX_SHOWN]}"
            if (why := _wrong_reference(schema, inside)) is not None:
                return f"{place[:_MAX_SHOWN]}: {why}"
        Draft202012Validator.check_schema(schema, format_checker=None)  # type: ignore[arg-type] # no pattern is compiled
    except SchemaError as error:
        return f"is no JSON Schema at {error.json_path[:_MAX_SHOWN]}: {error.message[:_MAX_SHOWN]}"
    return ""


def _schemas(question: Question) -> Iterator[tuple[str, str]]:
    for number, tool in enumerate(question.tools):
        if tool.parameters_json:
            yield f"tools[{number}].parameters_json", tool.parameters_json
    if question.output is not None and question.output.schema_json:
        yield "output_format.schema_json", question.output.schema_json


def _inside(schema: object) -> Iterator[tuple[str, Mapping[str, object], int]]:
    """Yield every object in a schema, with its place and depth."""
    waiting: list[tuple[str, object, int]] = [("$", schema, 0)]
    while waiting:
        place, value, depth = waiting.pop()
        if isinstance(value, dict):
            yield place, value, depth
            waiting += [(f"{place}.{name}", each, depth + 1) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]", each, depth + 1) for number, each in enumerate(value)]


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
        if not isinstance(target, dict) or name not in target:
            return f"$ref {reference[:_MAX_SHOWN]!r} leads nowhere"
        target = target[name]
    return None
