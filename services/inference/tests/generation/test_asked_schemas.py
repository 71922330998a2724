"""Schemas of questions are checked in bounded processes, and once."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from services.inference.tests.fakes import ADA, question
from tidemill_inference.generation.asked_schemas import IMPORTS, AskedSchemas
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import OutputFormat, Tool
from tidemill_kit.texts.json_schemas import wrong_with
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits

LIMITS = ProcessLimits(workers=1, cpu_s=20, wall_s=60, memory_bytes=512 << 20)
SLOW = json.dumps({"allOf": [{"not": {}}] * 4500})
"""Takes a second."""


@pytest.fixture
async def processes() -> AsyncIterator[BoundedProcesses]:
    made = BoundedProcesses(LIMITS, "schemas", IMPORTS)
    yield made
    await made.stop()


def with_tools(*schemas: str) -> Question:
    tools = tuple(Tool(name=f"t{number}", parameters_json=schema) for number, schema in enumerate(schemas))
    return replace(question(), tools=tools)


@pytest.mark.heavy
async def test_no_schema_is_checked_in_the_service_and_none_twice(
    processes: BoundedProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Draft202012Validator, "check_schema", here)
    schemas, asked = AskedSchemas(processes), with_tools('{"type": "object"}', '{"title": "x"}')
    await schemas.check(ADA.project, asked)
    with pytest.raises(QuestionRefused, match=r"tools\[1\].parameters_json: is no JSON Schema at \$.type"):
        await schemas.check(ADA.project, with_tools("{}", '{"type": 5}'))
    await processes.stop()

    await schemas.check(ADA.project, asked)

    with pytest.raises(QuestionRefused, match=r"output_format\.schema_json: is not JSON"):
        await AskedSchemas().check(ADA.project, replace(question(), output=OutputFormat(schema_json="{")))


async def test_a_schema_that_takes_too_long_is_refused_and_not_tried_again() -> None:
    processes = BoundedProcesses(replace(LIMITS, cpu_s=0.1), "schemas", IMPORTS)
    schemas = AskedSchemas(processes)
    try:
        with pytest.raises(QuestionRefused, match=r"cannot be checked: it takes more than 0\.1 s"):
            await schemas.check(ADA.project, with_tools("{}", SLOW))
    finally:
        await processes.stop()

    with pytest.raises(QuestionRefused, match=r"tools\[0\].*takes more than 0.1 s"):
        await schemas.check(ADA.project, with_tools(SLOW))


@pytest.mark.parametrize(("step", "leads"), [("0", True), ("1", True), ("2", False), ("01", False), ("-1", False)])
def test_a_reference_may_lead_into_a_list(step: str, *, leads: bool) -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {}]}, "b": {"$ref": f"#/properties/a/anyOf/{step}"}}}

    assert ("leads nowhere" not in wrong_with(json.dumps(schema))) is leads
