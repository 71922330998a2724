"""`POST /v1/completions`, the API before chats: one prompt as one user message, answered the same way.

What it has no word for (messages, tools, response_format) is refused by name; so are `echo`, `suffix`, several prompts
and arrays of tokens. `logprobs` is a number here, and comes back as lists.
"""

import json
from collections import defaultdict
from typing import Any

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.openai_api.schemas import ChatRequest, chat_request_of
from tidemill_kit.http.bodies import object_of
from tidemill_kit.http.errors import shown

Json = dict[str, Any]
_OF_CHATS = (
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "max_completion_tokens",
    "top_logprobs",
)
_MAX_LOGPROBS = 5
_PROMPT = "messages[0]"


def completion_request_of(body: bytes) -> ChatRequest:
    """Return what a body asks for, as a chat of one message.

    Raises:
        InvalidInput: names every parameter that is missing, wrong or not supported.

    """
    given = {name: value for name, value in object_of(body).items() if value is not None}
    found = [
        Violation(shown(name), "is of POST /v1/chat/completions: leave it out") for name in _OF_CHATS if name in given
    ]
    prompt = given.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if not isinstance(prompt, str):
        found.append(Violation("prompt", _why(prompt)))
    if given.pop("suffix", "") != "":
        found.append(Violation("suffix", "is not supported: leave it out"))
    if given.pop("echo", False) is not False:
        found.append(Violation("echo", "is not supported: leave it out, or send false"))
    logprobs = given.pop("logprobs", None)
    if logprobs is not None and (type(logprobs) is not int or not 0 <= logprobs <= _MAX_LOGPROBS):
        found.append(Violation("logprobs", f"is {shown(json.dumps(logprobs))}; use 0 to {_MAX_LOGPROBS}"))
    if found:
        refusal = InvalidInput.of(*found)
        refusal.reason = "UNSUPPORTED_PARAMETER"
        raise refusal
    chat: Json = {**given, "messages": [{"role": "user", "content": prompt}]}
    if logprobs is not None:
        chat |= {"logprobs": True, "top_logprobs": logprobs}
    try:
        return chat_request_of(json.dumps(chat).encode())
    except InvalidInput as error:
        raise as_sent(error) from error


def as_sent(error: InvalidInput) -> InvalidInput:
    """Return the error with its fields called as this caller called them."""
    return error.renamed(_sent)


class Texts:
    """Says the replies and chunks of one chat as those of completions."""

    def __init__(self) -> None:
        self._lengths: defaultdict[int, int] = defaultdict(int)
        """Of each text so far, for the places of tokens in it."""

    def __call__(self, said: Json) -> Json | None:
        """Return a reply or chunk; None of a chunk that only says who speaks."""
        choices = [self._choice(each) for each in said["choices"]]
        empty = choices and not any(each["text"] or each["finish_reason"] or each["logprobs"] for each in choices)
        if empty and "tidemill" not in said:
            return None
        return {**said, "object": "text_completion", "choices": choices}

    def _choice(self, choice: Json) -> Json:
        said: Json = choice["message"] if "message" in choice else choice["delta"]
        text = said.get("content") or ""
        index = choice["index"]
        logprobs = _lists(choice["logprobs"], start=self._lengths[index])
        self._lengths[index] += len(text)
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": choice["finish_reason"]}


def _lists(logprobs: Json | None, *, start: int) -> Json | None:
    if logprobs is None:
        return None
    tokens, offsets = [each["token"] for each in logprobs["content"]], list[int]()
    for token in tokens:
        offsets.append(start)
        start += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [each["logprob"] for each in logprobs["content"]],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in each["top_logprobs"]} for each in logprobs["content"]
        ],
        "text_offset": offsets,
    }


def _why(prompt: object) -> str:
    if prompt is None:
        return "is required"
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(each, str) for each in prompt):
        return f"has {len(prompt)} prompts: send a request for each"
    return "is no text; arrays of tokens are not supported"


def _sent(field: str) -> str:
    if field.startswith(_PROMPT) or field == "messages":
        return "prompt"
    return "logprobs" if field == "top_logprobs" else field
