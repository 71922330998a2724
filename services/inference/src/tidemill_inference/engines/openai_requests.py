"""A prompt as the body of a request for OpenAI's chat completions."""

import json
from collections.abc import Iterator
from typing import Any

from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Prompt
from tidemill_inference.generation.domain.content import Message, ToolCall
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode

Json = dict[str, Any]
ANY_OBJECT = {"type": "object", "properties": {}}
"""The parameters of a tool that says nothing of them: some servers take none without."""


def parameters_of(prompt: Prompt, *, limit_name: str) -> Json:
    """Return the parameters that say how to go on from the messages."""
    sampling = prompt.sampling
    asked = {
        limit_name: sampling.max_output_tokens,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs if sampling.logprobs else None,
        "n": prompt.candidates if prompt.candidates > 1 else None,
        "tools": [_tool(tool) for tool in prompt.tools] or None,
        "tool_choice": _tool_choice(prompt.tool_choice, prompt.tools),
        "parallel_tool_calls": False if prompt.tools and prompt.tool_choice.single_call else None,
        "response_format": _response_format(prompt.output) if prompt.output else None,
    }
    return sampling_of(sampling) | _given(asked)


def sampling_of(sampling: Sampling) -> Json:
    """Return the parameters that chat completions share with completions."""
    return _given(
        {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        }
    )


def _given(asked: Json) -> Json:
    return {name: value for name, value in asked.items() if value is not None}


def messages_of(prompt: Prompt) -> list[Json]:
    """Return the messages; each result of a tool is one of its own."""
    return [each for message in prompt.messages for each in _messages(message)]


def _messages(message: Message) -> Iterator[Json]:
    for result in message.tool_results:
        yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
    if message.tool_results:
        return
    calls = [_tool_call(call) for call in message.tool_calls]
    yield {
        "role": message.role.value,
        "content": (message.text or None) if calls else message.text,
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_content": message.reasoning} if message.reasoning else {}),
    }


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments_json or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: Tool) -> Json:
    function = {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "parameters": json.loads(tool.parameters_json) if tool.parameters_json else ANY_OBJECT,
        **({"strict": True} if tool.strict else {}),
    }
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> object:
    """Return the choice; None, the default, is the model's own."""
    if not tools:
        return None
    required = choice.mode is ToolMode.REQUIRED
    match choice.names:
        case ():
            return {ToolMode.NONE: "none", ToolMode.REQUIRED: "required"}.get(choice.mode)
        case (name,) if required:
            return {"type": "function", "function": {"name": name}}
        case names:
            allowed = [{"type": "function", "function": {"name": name}} for name in names]
            mode = "required" if required else "auto"
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}


def _response_format(output: OutputFormat) -> Json:
    if not output.schema_json:
        return {"type": "json_object"}
    schema = {
        "name": output.name or "answer",
        **({"description": output.description} if output.description else {}),
        "schema": json.loads(output.schema_json),
        **({"strict": True} if output.strict else {}),
    }
    return {"type": "json_schema", "json_schema": schema}
