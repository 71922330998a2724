"""The chunks of a streamed chat completion as pieces; they are a server's, and need not be what they should."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill_inference.engines.ports import Finish, Piece, ProviderIdentity, ToolCallPiece
from tidemill_inference.engines.text_stream import WholeCharacters, joined
from tidemill_inference.engines.tool_calls import new_call_id
from tidemill_inference.generation.domain.content import TokenLogprob, TopLogprob

REASONS: Mapping[str, str] = {
    **dict.fromkeys(("stop", "stop_sequence", "eos", "eos_token", "end_turn", "end", "complete", "completed"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool-calls"), "tool_calls"),
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "recitation", "refusal"), "content_filter"),
}
"""OpenAI's word for each reason that ends an answer well; after any other one it is not whole."""
_NOT_HANDED_ON = ("function_call", "audio", "images")
"""Parts of an answer that are not handed on: an answer that has them has failed, it is not an empty one."""
_REASONING = ("reasoning_content", "reasoning")
"""Where servers say what a model thinks."""
_KNOWN_PARTS = ("image_url", "audio_url", "reference", "document_url")
_NAMES = ("model", "system_fingerprint")
"""By what a chunk says which model made it."""
_PLAIN = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)
_MAX_NAME = 256
_MAX_CALLS = 1000
"""Of one answer."""
_MAX_COUNT = 2**31 - 1
"""What the contract holds: more is no count of tokens."""
_IMPOSSIBLE = -9999.0
"""OpenAI's log probability of what cannot be."""


class NotHandedOnError(Exception):
    """The endpoint answers with something that is not handed on; its text says with what."""


@dataclass(slots=True)
class _Call:
    id: str
    name: str = ""
    arguments: WholeCharacters = field(default_factory=WholeCharacters)


@dataclass(slots=True)
class _Choice:
    """One candidate so far."""

    number: int
    characters: WholeCharacters = field(default_factory=WholeCharacters)
    thoughts: WholeCharacters = field(default_factory=WholeCharacters)
    calls: dict[int, _Call] = field(default_factory=dict)
    reason: str = ""


class Chunks:
    """Reads one answer. Whatever is not as it should be raises ValueError or TypeError."""

    def __init__(self, *, candidates: int, logprobs: bool = False) -> None:
        """Without `logprobs` they were not asked for, and those that come are dropped."""
        self._logprobs = logprobs
        self._choices = [_Choice(number) for number in range(candidates)]
        self._usage: object = None
        self._names: dict[str, str] = {}

    def feed(self, chunk: object) -> Iterator[Piece | ToolCallPiece]:
        """Yield what a chunk says.

        Raises:
            NotHandedOnError: it says something that is not handed on.

        """
        said = _object(chunk)
        self._usage = said.get("usage") or self._usage
        for name in _NAMES:
            if isinstance(given := said.get(name), str) and given:
                self._names[name] = given
        choices = _list(said.get("choices"))
        if len(choices) > len(self._choices):
            raise ValueError(len(choices))
        for each in choices:
            given = _object(each)
            number = given.get("index") or 0
            if not isinstance(number, int) or not 0 <= number < len(self._choices):
                raise ValueError(number)
            yield from self._of_choice(self._choices[number], given)

    def end(self) -> Iterator[Piece | ToolCallPiece]:
        """Yield what was held back."""
        for choice in self._choices:
            if rest := choice.thoughts.end():
                yield Piece(reasoning=rest, candidate=choice.number)
            if rest := choice.characters.end():
                yield Piece(text=rest, candidate=choice.number)
            for index, call in choice.calls.items():
                if rest := call.arguments.end():
                    yield ToolCallPiece(index=index, candidate=choice.number, arguments=rest)

    def finishes(self) -> list[Finish]:
        """Return how each candidate ended; only the sum of their tokens is known.

        Raises:
            ValueError: one broke off, or never came.

        """
        finishes = []
        for choice in self._choices:
            reason = REASONS.get(choice.reason.lower(), "")
            calls = choice.calls.values()
            if not reason or not all(call.name for call in calls) or (reason == "tool_calls" and not calls):
                raise ValueError(choice.number)
            if choice.calls and reason == "stop":
                reason = "tool_calls"  # some servers say so only where the model was free to call
            last = choice is self._choices[-1]
            finishes.append(
                Finish(
                    reason=reason,
                    candidate=choice.number,
                    input_tokens=_count(self._usage, "prompt_tokens"),
                    output_tokens=_count(self._usage, "completion_tokens") if last else 0,
                    cached_input_tokens=_count(_details(self._usage), "cached_tokens"),
                    identity=self._identity(),
                )
            )
        return finishes

    def _identity(self) -> ProviderIdentity | None:
        if not self._names:
            return None
        model, fingerprint = (_name(self._names.get(name, "")) for name in _NAMES)
        return ProviderIdentity(provider_model=model, system_fingerprint=fingerprint)

    def _of_choice(self, choice: _Choice, given: Mapping[str, object]) -> Iterator[Piece | ToolCallPiece]:
        delta, ended = _object(given.get("delta")), given.get("finish_reason") or ""
        if found := [name for name in _NOT_HANDED_ON if delta.get(name) or ended == name]:
            raise NotHandedOnError(found[0])
        choice.reason = _text(ended) or choice.reason
        content, thought = _content(delta.get("content"))
        thought = thought or next((_text(delta[name]) for name in _REASONING if delta.get(name)), "")
        if thought := choice.thoughts.feed(thought):
            yield Piece(reasoning=thought, candidate=choice.number)
        text = choice.characters.feed(content or _text(delta.get("refusal") or ""))
        said = _list(_object(given.get("logprobs")).get("content")) if self._logprobs else ()
        logprobs = tuple(map(_logprob, said))
        if text or logprobs:
            yield Piece(text=text, candidate=choice.number, logprobs=logprobs)
        for each in _list(delta.get("tool_calls")):
            yield _call_piece(choice, _object(each))


def _content(content: object) -> tuple[str, str]:
    """Return text, and what a model thinks. Mistral's reasoning models send a list of parts."""
    if not isinstance(content, list):
        return _text(content or ""), ""
    said: dict[str, str] = {"text": "", "thinking": ""}
    for part in map(_object, content):
        kind = _text(part.get("type"))
        if kind not in said:
            raise NotHandedOnError(kind if kind in _KNOWN_PARTS else "parts that are no text")
        inner = part.get(kind)
        said[kind] += _content(inner)[0] if isinstance(inner, list) else _text(inner or "")
    return said["text"], said["thinking"]


def _call_piece(choice: _Choice, given: Mapping[str, object]) -> ToolCallPiece:
    """Return more of a call. Servers that leave out its index begin a call with its id."""
    function, said_id = _object(given.get("function")), _text(given.get("id") or "")
    index = given.get("index")
    if index is None:
        known = any(call.id == said_id for call in choice.calls.values())
        index = len(choice.calls) if said_id and not known else max(0, len(choice.calls) - 1)
    if not isinstance(index, int) or not 0 <= index < _MAX_CALLS:
        raise ValueError(index)
    if is_new := index not in choice.calls:
        choice.calls[index] = _Call(said_id or new_call_id())
    call = choice.calls[index]
    name = joined(_text(function.get("name") or ""))
    if len(name) > _MAX_NAME or len(call.id) > _MAX_NAME:
        raise ValueError(_MAX_NAME)
    begins, call.name = bool(name) and not call.name, call.name or name
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
    return ToolCallPiece(
        index=index,
        candidate=choice.number,
        id=joined(call.id) if is_new else "",
        name=name if begins else "",
        arguments=call.arguments.feed(text),
    )


def _logprob(given: object) -> TokenLogprob:
    text, logprob, utf8 = _token(given)
    likeliest = tuple(_token(each) for each in _list(_object(given).get("top_logprobs")))
    top = tuple(TopLogprob(text=text, logprob=logprob, utf8=utf8) for text, logprob, utf8 in likeliest)
    return TokenLogprob(text=text, logprob=logprob, utf8=utf8, top=top)


def _token(given: object) -> tuple[str, float, bytes]:
    said = _object(given)
    token, logprob, utf8 = joined(_text(said.get("token"))), said.get("logprob"), said.get("bytes")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise TypeError(type(logprob))
    in_bytes = bytes(_list(utf8)) if utf8 is not None else token.encode()  # type: ignore[arg-type] # or raises
    return token, float(logprob) if math.isfinite(logprob) else _IMPOSSIBLE, in_bytes


def _name(given: str) -> str:
    """Return what is a plain name as it is: anything else could be a text, and has its digest."""
    if not given or _PLAIN.fullmatch(given):
        return given
    return f"sha256:{hashlib.sha256(given.encode('utf-8', 'replace')).hexdigest()}"


def _object(value: object) -> Mapping[str, object]:
    """Return a JSON object, an empty one for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(type(value))
    return value


def _list(value: object) -> Sequence[object]:
    """Return a JSON list, an empty one for null."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TypeError(type(value))
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value


def _details(usage: object) -> object:
    return usage.get("prompt_tokens_details") if isinstance(usage, dict) else None


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_COUNT else 0
