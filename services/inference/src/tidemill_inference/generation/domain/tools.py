"""Functions that a model may ask its caller to run, and the form that an answer is to have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_inference.generation.domain.errors import QuestionRefused

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the caller runs; `parameters_json` is the JSON Schema of its arguments, "" takes none."""

    name: str
    description: str = ""
    parameters_json: str = ""
    strict: bool = False
    """Whether arguments have to follow the schema in every detail."""


class ToolMode(Enum):
    """Whether a model calls tools."""

    AUTO = 1
    NONE = 2
    REQUIRED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Which tools a model calls: as it likes, none, or at least one; `names` are those it may call, () all of them."""

    mode: ToolMode = ToolMode.AUTO
    names: tuple[str, ...] = ()
    single_call: bool = False
    """Whether it may make one call at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """The answer is JSON: of this JSON Schema, or with "" any object."""

    schema_json: str = ""
    name: str = ""
    description: str = ""
    strict: bool = False


def check_asked(tools: Sequence[Tool], choice: ToolChoice, output: OutputFormat | None) -> None:
    """Refuse tools, a choice among them, or an output format that cannot be.

    Raises:
        QuestionRefused: names the field and what is supported.

    """
    named: set[str] = set()
    for number, tool in enumerate(tools):
        if not _NAME.fullmatch(tool.name):
            why = f"is {tool.name[:64]!r}; use 1 to 64 letters, digits, dashes and underscores"
            raise QuestionRefused(field=f"tools[{number}].name", why=why)
        if tool.name in named:
            raise QuestionRefused(field=f"tools[{number}].name", why=f"is {tool.name}, which another tool has too")
        named.add(tool.name)
    if choice.mode is ToolMode.REQUIRED and not tools:
        raise QuestionRefused(field="tool_choice", why="asks for a call, and there are no tools: send some")
    if unknown := [name for name in choice.names if name not in named]:
        raise QuestionRefused(field="tool_choice", why=f"names {unknown[0][:64]!r}, which is none of the tools")
    if output is not None and output.name and not _NAME.fullmatch(output.name):
        why = f"is {output.name[:64]!r}; use 1 to 64 letters, digits, dashes and underscores"
        raise QuestionRefused(field="output_format.name", why=why)
