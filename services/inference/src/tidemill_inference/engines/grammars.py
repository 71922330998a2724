"""What an answer may be made of, as a grammar of llguidance: JSON of a schema, and calls of tools.

A schema is its project's own, as its prompts are: it is compiled in a process with limits first, by a tokenizer of
bytes, so that nothing is compiled in the service that takes long or much. What a step of it may take is bounded too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cachetools import LRUCache

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput, Violation
from tidemill_inference.engines.ports import DEFAULT_GRAMMAR_BYTES, Prompt
from tidemill_inference.engines.tool_calls import ToolFormat
from tidemill_inference.generation.domain.tools import Tool, ToolMode
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError

IMPORTS = ("llguidance",)
"""What compiling needs, for its processes."""
LIMITS: Mapping[str, Any] = {
    "step_lexer_fuel": 50_000,
    "step_max_items": 30_000,
    "max_lexer_states": 10_000,
    "precompute_large_lexemes": False,
    "verbose_errors": False,  # it quotes what the model has written
}
"""What one step of a grammar may take: a few milliseconds, and 20 MB."""
_JSON: Mapping[str, object] = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
"""No more white space than `json.dumps` writes: a small model may write it for ever."""
_ANY_OBJECT: Mapping[str, object] = {"type": "object"}
_NO_ARGUMENTS: Mapping[str, object] = {"type": "object", "properties": {}, "additionalProperties": False}
_MAX_SAID = 200
_MAX_CHECKED = 512
_TEXT = r"TEXT: /(.|\n)*/"


def grammar_of(prompt: Prompt, tools: ToolFormat | None) -> str | None:
    """Return the grammar that an answer has to follow, None where it may be any text.

    Raises:
        InvalidInput: a schema is no JSON object.

    """
    choice, output = prompt.tool_choice, prompt.output
    offered = offered_tools(prompt) if tools is not None else ()
    required = bool(offered) and choice.mode is ToolMode.REQUIRED
    if not (required or output is not None or any(tool.strict for tool in offered)):
        return None
    schemas: dict[str, Mapping[str, object]] = {f"a{number}": _arguments(tool) for number, tool in enumerate(offered)}
    rules = _call_rules(tools, offered, single=choice.single_call) if tools is not None and offered else []
    if required:
        start = "start: calls"
    elif output is not None:
        schemas["out"] = _schema(output.schema_json, "output_format.schema") if output.schema_json else _ANY_OBJECT
        start = "start: calls | @out" if rules else "start: @out"
    else:
        assert tools is not None  # noqa: S101 - it is guided because of calls
        start = _text_until_a_call(tools, single=choice.single_call)
    return _written([start, *rules], schemas)


def offered_tools(prompt: Prompt) -> Sequence[Tool]:
    """Return the tools that the model may call."""
    if prompt.tool_choice.mode is ToolMode.NONE:
        return ()
    names = prompt.tool_choice.names
    return [tool for tool in prompt.tools if not names or tool.name in names]


def _text_until_a_call(tools: ToolFormat, *, single: bool) -> str:
    begin = "begin" if tools.special else "begin[lazy]"
    said = "said?" if single else "said*"
    return f"start: {said} TEXT\nsaid: begin body\n{begin}: TEXT {tools.rule(tools.opening)}\n{_TEXT}"


def _call_rules(tools: ToolFormat, offered: Sequence[Tool], *, single: bool) -> list[str]:
    bodies = [
        f"b{number}: {tools.rule(tools.before_arguments(tool.name))} @a{number} {tools.rule(tools.after_arguments)}"
        for number, tool in enumerate(offered)
    ]
    calls = "calls: call" if single else f"calls: call ({tools.rule(tools.between)} call)*"
    body = "body: " + " | ".join(f"b{number}" for number in range(len(offered)))
    return [calls, f"call: {tools.rule(tools.opening)} body", body, *bodies]


def _arguments(tool: Tool) -> Mapping[str, object]:
    if not tool.parameters_json:
        return _NO_ARGUMENTS
    return _schema(tool.parameters_json, f"tools[{tool.name}].parameters")


def _schema(text: str, field: str) -> Mapping[str, object]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput.at(field, "is not JSON, or nests too deep: send a JSON Schema") from error
    if not isinstance(schema, dict):
        raise InvalidInput.at(field, f"is {type(schema).__name__}; send a JSON Schema, which is an object")
    return schema


def _written(rules: Sequence[str], schemas: Mapping[str, Any]) -> str:
    named = [{"name": name, "json_schema": {**schema, "x-guidance": {**_JSON}}} for name, schema in schemas.items()]
    return json.dumps({"grammars": [{"lark_grammar": "\n".join(rules)}, *named]})


class GrammarRefused(InvalidInput):
    """A schema that cannot be followed token by token."""

    reason = "SCHEMA_REFUSED"

    def __init__(self, *, why: str) -> None:
        super().__init__(violations=[Violation("output_format.schema or tools", f"cannot be followed: {why}")])


class GrammarChecker(Protocol):
    """Says whether a grammar can be compiled in reasonable time."""

    async def check(self, project: str, grammar: str) -> None:
        """Return if it can.

        Raises:
            GrammarRefused: a schema says what is not supported, or takes too much; the error says which.
            InvalidInput: the schemas are too large together.
            DependencyUnavailable: a process for it died.

        """
        ...


@dataclass(slots=True)
class BoundedGrammars:
    """Implements `GrammarChecker` by processes with limits; what was found is known for some time."""

    processes: BoundedProcesses
    max_bytes: int
    _known: "LRUCache[bytes, str]"

    def __init__(self, processes: BoundedProcesses, *, max_bytes: int = DEFAULT_GRAMMAR_BYTES) -> None:
        self.processes = processes
        self.max_bytes = max_bytes
        self._known = LRUCache(_MAX_CHECKED)

    async def check(self, project: str, grammar: str) -> None:
        """See `GrammarChecker`."""
        if len(grammar) > self.max_bytes:
            message = (
                f"come to {len(grammar)} bytes together; use at most {self.max_bytes}, "
                "or have INFERENCE_GRAMMAR_MAX_BYTES raised"
            )
            raise InvalidInput.of(Violation("output_format.schema and tools", message))
        digest = hashlib.sha256(grammar.encode()).digest()
        if (found := self._known.get(digest)) is None:
            found = self._known[digest] = await self._compiled(project, grammar)
        if found:
            raise GrammarRefused(why=found)

    async def _compiled(self, project: str, grammar: str) -> str:
        try:
            return await self.processes.run(project, refusal, grammar)
        except WorkEndedError as ended:
            if ended.cause in {"wall", "died"}:
                message = f"compiling a schema {ended.why}"
                raise DependencyUnavailable(message, dependency="prompts", blame=Blame.CALLER) from ended
            return f"compiling it {ended.why}"


def refusal(grammar: str) -> str:
    """Return why a grammar cannot be compiled, "" if it can."""
    import llguidance  # noqa: PLC0415 - in this process only

    matcher = llguidance.LLMatcher(byte_tokens(), grammar, log_level=0, limits=llguidance.LLParserLimits(**LIMITS))
    if matcher.is_error():
        return said(matcher.get_error())
    matcher.compute_bitmask()
    return said(matcher.get_error()) if matcher.is_error() else ""


def said(error: str) -> str:
    """Return what an error of llguidance says of a schema."""
    first = error.partition("<non-verbose/>")[0].strip().splitlines() or ["it allows no answer"]
    if first[0].startswith("NoExtension"):
        return "it allows no answer"
    if first[0].startswith("panic"):
        return "it is too large"
    return " ".join(" ".join(first).split())[:_MAX_SAID]


class _Bytes:
    """A tokenizer with a token for each byte, and one for the end."""

    eos_token_id, bos_token_id = 256, None
    special_token_ids = (256,)
    tokens = (*(bytes([each]) for each in range(256)), b"<end>")

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def byte_tokens() -> Any:  # noqa: ANN401 - of a library that is imported in processes only
    """Return a vocabulary of single bytes."""
    from llguidance import LLTokenizer, TokenizerWrapper  # noqa: PLC0415 - in this process only

    return LLTokenizer(TokenizerWrapper(_Bytes()), slices=[])
