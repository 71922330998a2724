"""The tools and the output format of a request."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode
from tidemill_kit.http.bodies import Strict

_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}
_SUPPORTED_CHOICES = (
    'use "auto", "none", "required", {"type": "function", "function": {"name": ...}} or {"type": "allowed_tools", ...}'
)


class Function(Strict):
    """A function that the caller runs."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool = False


class AskedTool(Strict):
    """A tool of a request; functions are the only ones."""

    type: Literal["function"]
    function: Function

    def tool(self) -> Tool:
        """Return it as the domain knows it."""
        function = self.function
        return Tool(
            name=function.name,
            description=function.description,
            parameters_json=json.dumps(function.parameters) if function.parameters else "",
            strict=function.strict,
        )


class JsonSchema(Strict):
    """The JSON Schema of an answer."""

    model_config = ConfigDict(validate_by_alias=True)

    name: str
    json_schema: dict[str, Any] = Field(alias="schema")
    description: str = ""
    strict: bool = False


class ResponseFormat(Strict):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def output(self) -> OutputFormat | None:
        """Return it as the domain knows it; plain text has none."""
        if self.type == "text":
            return None
        if self.type == "json_object" or self.json_schema is None:
            return OutputFormat()
        given = self.json_schema
        return OutputFormat(
            schema_json=json.dumps(given.json_schema),
            name=given.name,
            description=given.description,
            strict=given.strict,
        )


class AskedChoice(Strict):
    """Which tools a model calls."""

    mode: Literal["auto", "none", "required"]
    names: list[str] = Field(default_factory=list)

    def choice(self, *, single_call: bool) -> ToolChoice:
        """Return it as the domain knows it."""
        return ToolChoice(mode=_MODES[self.mode], names=tuple(self.names), single_call=single_call)


def _choice(given: object) -> object:
    match given:
        case str() if given in _MODES:
            return {"mode": given}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"mode": "required", "names": [name]}
        case {"type": "allowed_tools", "allowed_tools": {"mode": ("auto" | "required") as mode, "tools": list(tools)}}:
            return {"mode": mode, "names": [_name_of(each) for each in tools]}
    message = f"is none that is supported: {_SUPPORTED_CHOICES}"
    raise ValueError(message)


def _name_of(tool: object) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return name
    message = 'allows something that is no {"type": "function", "function": {"name": ...}}'
    raise ValueError(message)


Choice = Annotated[AskedChoice, BeforeValidator(_choice)]
"""`tool_choice`, whose forms are a text or an object."""
