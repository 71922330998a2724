"""Schemas and calls as grammars: what they allow, and how those that cannot be followed are refused."""

import json
from collections.abc import AsyncIterator
from typing import Any

import llguidance
import pytest
import pytest_asyncio

from tidemill_core.errors import InvalidInput
from tidemill_inference.engines.grammars import (
    IMPORTS,
    LIMITS,
    BoundedGrammars,
    GrammarRefused,
    byte_tokens,
    grammar_of,
    refusal,
)
from tidemill_inference.engines.ports import Prompt
from tidemill_inference.engines.tool_calls import FORMATS
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_testkit.loop_lag import loop_lag

HERMES = FORMATS[0]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool(name="weather", parameters_json=json.dumps(CITY))
CLOCK = Tool(name="clock")
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Kyiv"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def a_prompt(**asked: Any) -> Prompt:  # noqa: ANN401 - of any field
    return Prompt(messages=(Message.of(Role.USER, "?"),), **asked)


def json_of(schema: object) -> Prompt:
    return a_prompt(output=OutputFormat(schema_json=json.dumps(schema)))


def required(*names: str, single: bool = False) -> ToolChoice:
    return ToolChoice(mode=ToolMode.REQUIRED, names=names, single_call=single)


def allows(prompt: Prompt, text: str) -> bool:
    """Return whether an answer may be this text, and end there."""
    grammar = grammar_of(prompt, HERMES)
    assert grammar is not None
    matcher = llguidance.LLMatcher(byte_tokens(), grammar, log_level=0, limits=llguidance.LLParserLimits(**LIMITS))
    assert not matcher.is_error(), matcher.get_error()
    read = matcher.try_consume_tokens(list(text.encode()))
    return bool(read == len(text.encode()) and matcher.is_accepting())


@pytest.fixture
def processes() -> BoundedProcesses:
    return BoundedProcesses(ProcessLimits(workers=1, cpu_s=0.3, wall_s=30, memory_bytes=512 << 20), "tests", IMPORTS)


@pytest_asyncio.fixture
async def checker(processes: BoundedProcesses) -> AsyncIterator[BoundedGrammars]:
    yield BoundedGrammars(processes)
    await processes.stop()


def test_json_follows_its_schema_and_is_written_as_json_is() -> None:
    asked = json_of(CITY)

    assert allows(asked, '{"city": "Kyiv", "days": 3}')
    assert allows(asked, '{"city":"Kyiv"}')
    assert not allows(asked, '{"days": 3}')
    assert not allows(asked, '{"city": "Kyiv", "country": "UA"}')
    assert not allows(asked, 'Sure: {"city": "Kyiv"}')
    assert not allows(asked, '{    "city": "Kyiv"}')


def test_json_without_a_schema_is_any_object() -> None:
    asked = a_prompt(output=OutputFormat())

    assert allows(asked, '{"a": [1, {"b": null}]}')
    assert not allows(asked, "[1]")


def test_a_schema_cannot_choose_how_strictly_it_is_followed() -> None:
    lenient = {**CITY, "x-guidance": {"lenient": True, "whitespace_flexible": True}, "not": {"type": "null"}}

    assert "not" in refusal(grammar_of(json_of(lenient), None) or "")


def test_a_required_call_is_one_of_the_tools_with_its_arguments() -> None:
    asked = a_prompt(tools=(WEATHER, CLOCK), tool_choice=required())

    assert allows(asked, CALL)
    assert allows(asked, f"{CALL}\n{TIME}\n{CALL}")
    assert not allows(asked, "It is cold.")
    assert not allows(asked, "")
    assert not allows(asked, CALL.replace('{"city": "Kyiv"}', '{"days": 3}'))
    assert not allows(asked, CALL.replace("weather", "volcano"))


def test_a_named_tool_is_the_only_one_and_a_single_call_the_last() -> None:
    asked = a_prompt(tools=(WEATHER, CLOCK), tool_choice=required("weather", single=True))

    assert allows(asked, CALL)
    assert not allows(asked, TIME)
    assert not allows(asked, f"{CALL}\n{CALL}")


def test_calls_beside_an_output_format_are_alternatives() -> None:
    asked = a_prompt(tools=(CLOCK,), output=OutputFormat(schema_json=json.dumps(CITY)))

    assert allows(asked, TIME)
    assert allows(asked, '{"city": "Kyiv"}')
    assert not allows(asked, "It is cold.")


def test_a_strict_tool_is_guided_once_its_call_begins() -> None:
    asked = a_prompt(tools=(Tool(name="weather", parameters_json=json.dumps(CITY), strict=True),))

    assert allows(asked, "1 < 2, and <b> is a tag.")
    assert allows(asked, f"Let me see.\n{CALL}\n{CALL}")
    assert not allows(asked, CALL.replace('{"city": "Kyiv"}', '{"days": 3}'))


@pytest.mark.parametrize(
    "asked",
    [
        a_prompt(),
        a_prompt(tools=(WEATHER,)),
        a_prompt(tools=(WEATHER,), tool_choice=ToolChoice(mode=ToolMode.NONE)),
    ],
)
def test_what_asks_for_no_form_has_no_grammar(asked: Prompt) -> None:
    assert grammar_of(asked, HERMES) is None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("true", "is bool"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_field(schema: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"output_format.schema.*{why}"):
        grammar_of(a_prompt(output=OutputFormat(schema_json=schema)), None)


async def test_schemas_that_are_large_together_are_not_compiled(processes: BoundedProcesses) -> None:
    checker = BoundedGrammars(processes, max_bytes=2000)
    grammar = grammar_of(json_of({"enum": ["x" * 100] * 20}), None)
    assert grammar is not None

    with pytest.raises(InvalidInput, match=r"\d+ bytes together; use at most 2000.*GRAMMAR_MAX_BYTES"):
        await checker.check("acme", grammar)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"not": {"type": "string"}}, 'Unimplemented keys: \\["not"\\]'),
        ({"type": "string", "pattern": "^(?=a)b"}, "look-ahead"),
        ({"$ref": "#"}, "it allows no answer"),
        ({"$ref": "https://example.com/schema.json"}, "example.com"),
        ({"type": "integer", "multipleOf": 999983}, "takes more than 0.3 s"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 100_000, "maxItems": 200_000}, "0.3 s|too large"),
        ({"allOf": [{"type": "string", "pattern": f".*{each}.*"} for each in "abcdefghijklmnop"]}, "0.3 s|regex"),
        ({"type": "string", "pattern": "^(([a-z]{1,50}){1,50}){1,50}$"}, ""),
    ],
)
async def test_a_schema_that_cannot_be_followed_is_refused_and_the_loop_goes_on(
    checker: BoundedGrammars, schema: object, why: str
) -> None:
    grammar = grammar_of(json_of(schema), None)
    assert grammar is not None

    async with loop_lag() as lag:
        if why:
            with pytest.raises(GrammarRefused, match=why):
                await checker.check("acme", grammar)
        else:  # it is compiled as it is followed, where each step is bounded
            await checker.check("acme", grammar)

    assert lag.worst_s < 0.2


async def test_a_schema_is_compiled_once(processes: BoundedProcesses, checker: BoundedGrammars) -> None:
    good, bad = grammar_of(json_of(CITY), None), grammar_of(json_of({"not": {}}), None)
    assert good is not None
    assert bad is not None
    await checker.check("acme", good)
    with pytest.raises(GrammarRefused):
        await checker.check("acme", bad)
    await processes.stop()
    worked: list[str] = []

    async def run(project: str, *_: object) -> str:
        worked.append(project)
        return ""

    processes_run, BoundedProcesses.run = BoundedProcesses.run, run  # type: ignore[method-assign, assignment]
    try:
        await checker.check("acme", good)
        with pytest.raises(GrammarRefused):
            await checker.check("globex", bad)
    finally:
        BoundedProcesses.run = processes_run  # type: ignore[method-assign]

    assert worked == []
