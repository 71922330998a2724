"""`POST /v1/completions`, the API before chats: each prompt as one user message, answered the same way.

Several prompts are several questions, each with its own record; `together` says their answers as one. `echo` has the
prompt before each text; `best_of` gives the likeliest of more texts. What completions have no word for (messages,
tools, response_format) is refused by name, and so are `suffix`, for which turns of a chat have no place, and arrays of
tokens, which a deployment cannot put into its own prompt. `logprobs` is a number here, and comes back as lists.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS
from tidemill_inference.generation.domain.question import Question
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
_NO_SUFFIX = (
    "is not supported: a model is asked in turns of a chat, which have no place behind an answer; leave it out, and "
    "say in the prompt what follows"
)
_NO_LOGPROBS = "goes without echo: the tokens of a prompt have no log probabilities here; leave one of them out"
_ONE_TURN = "goes with one prompt only, which is its next turn: send a request for each prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """What `POST /v1/completions` takes: a chat of one message for each prompt; its errors are in its own words."""

    chat: ChatRequest
    prompts: tuple[str, ...]
    echo: bool = False
    best_of: int = 0

    @property
    def stream(self) -> bool:
        """Whether the answer is streamed."""
        return self.chat.stream

    @property
    def end_user_field(self) -> str:
        """What the caller called the end user."""
        return self.chat.end_user_field

    def questions(self) -> Sequence[Question]:
        """Return what is asked, a question for each prompt."""
        first = replace(self.chat.question(), best_of=self.best_of)
        return [replace(first, messages=(Message.of(Role.USER, prompt),)) for prompt in self.prompts]

    def blamed(self, error: InvalidInput) -> InvalidInput:
        """Return the error with its fields called as this caller called them."""
        return self.chat.blamed(error).renamed(_sent)


def completion_request_of(body: bytes) -> CompletionRequest:
    """Return what a body asks for.

    Raises:
        InvalidInput: names every parameter that is missing, wrong or not supported.

    """
    given = {name: value for name, value in object_of(body).items() if value is not None}
    found = [
        Violation(shown(name), "is of POST /v1/chat/completions: leave it out") for name in _OF_CHATS if name in given
    ]
    prompts, why = _prompts(given.pop("prompt", None))
    found += [Violation("prompt", why)] if why else []
    if given.pop("suffix", "") != "":
        found.append(Violation("suffix", _NO_SUFFIX))
    echo, best_of = given.pop("echo", False), given.pop("best_of", None)
    found += [] if isinstance(echo, bool) else [Violation("echo", "is no boolean; send true or false")]
    logprobs = given.pop("logprobs", None)
    if logprobs is not None and (type(logprobs) is not int or not 0 <= logprobs <= _MAX_LOGPROBS):
        found.append(Violation("logprobs", f"is {shown(json.dumps(logprobs))}; use 0 to {_MAX_LOGPROBS}"))
    elif logprobs is not None and echo:
        found.append(Violation("logprobs", _NO_LOGPROBS))
    found += _of_best_of(best_of, given)
    if len(prompts) > 1 and isinstance(options := given.get("tidemill"), Mapping) and options.get("conversation"):
        found.append(Violation("tidemill.conversation", _ONE_TURN))
    if found:
        refusal = InvalidInput.of(*found)
        refusal.reason = "UNSUPPORTED_PARAMETER"
        raise refusal
    chat: Json = {**given, "messages": [{"role": "user", "content": prompts[0]}]}
    if logprobs is not None:
        chat |= {"logprobs": True, "top_logprobs": logprobs}
    try:
        asked = chat_request_of(json.dumps(chat).encode())
    except InvalidInput as error:
        raise error.renamed(_sent) from error
    return CompletionRequest(chat=asked, prompts=prompts, echo=echo, best_of=best_of or 0)


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
            {other["token"]: other["logprob"] for other in (*each["top_logprobs"], each)}
            for each in logprobs["content"]
        ],
        "text_offset": offsets,
    }


def _prompts(given: object) -> tuple[tuple[str, ...], str]:
    """Return the prompts, or why they are none."""
    if given is None or given == []:
        return (), "is required: send a text, or a list of texts"
    if isinstance(given, list) and len(given) > QUESTION_BOUNDS.prompts:
        return (), f"has {len(given)} prompts; send at most {QUESTION_BOUNDS.prompts}"
    prompts = [given] if isinstance(given, str) else given if isinstance(given, list) else [None]
    texts = tuple(each for each in prompts if isinstance(each, str))
    if len(texts) < len(prompts):
        return (), "is neither a text nor a list of texts; arrays of tokens are not supported"
    return texts, ""


def _of_best_of(best_of: object, given: Json) -> Iterator[Violation]:
    """Yield what is wrong with `best_of`; whether it is too many, the question says."""
    least = given.get("n", 1)
    if best_of is None:
        return
    if type(best_of) is not int or best_of < 1:
        yield Violation("best_of", f"is {shown(json.dumps(best_of))}; use 1 or more")
    elif type(least) is int and best_of < least:
        yield Violation("best_of", f"is {best_of}, fewer than n, which is {least}; use {least} or more")
    elif best_of != least and given.get("stream") is True:
        yield Violation("best_of", "is not for streams, whose texts are not known whole: leave one of them out")


def _sent(field: str) -> str:
    if field.startswith(_PROMPT) or field == "messages":
        return "prompt"
    return "logprobs" if field == "top_logprobs" else field
