"""The events of a streamed response.

Each has its type and a number. Items come in the order in which the model begins them and stay open until the end; an
item has the same id in the stream, in the last event and whenever it is shown. The last event has the whole response:
`response.completed`, `response.incomplete`, or, behind `error`, `response.failed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidemill_core.errors import TidemillError
from tidemill_inference.generation.domain.content import TokenLogprob
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import Delta, Finished, ToolCallDelta
from tidemill_inference.openai_api.completions import cut, token_of
from tidemill_inference.openai_api.errors import error_body
from tidemill_inference.openai_api.responses.objects import (
    Asked,
    call_item,
    failed_object,
    message_item,
    reasoning_item,
    response_object,
    text_part,
)

Json = dict[str, Any]
_KNOWN_AT_FIRST = ("inference", "variant", "conversation", "feedback_token")
"""What of the field `tidemill` comes with the first events, so that an answer that breaks can be rated."""
_MAX_LOGPROBS = 16
"""Of one event, as of a chunk."""


@dataclass(slots=True, kw_only=True)
class _Open:
    """An item that has begun, and what it says so far."""

    index: int
    item: Json
    said: list[str] = field(default_factory=list)

    @property
    def at(self) -> Json:
        """What names it in an event."""
        return {"item_id": self.item["id"], "output_index": self.index}


def error_event(error: TidemillError, number: int) -> Json:
    """Return the event of an error, with what OpenAI's clients look for."""
    said = error_body(error)["error"]
    flat = {name: said[name] for name in ("code", "message", "param")}
    return {"type": "error", "sequence_number": number, **flat, "error": said}


class Events:
    """The events of one answer, from the step that began it."""

    def __init__(self, started: Inference, asked: Asked, *, feedback_token: str) -> None:
        self._inference = started.id
        self._asked = asked
        self._token = feedback_token
        begun = response_object(started, asked, feedback_token=feedback_token)
        basis = {name: begun["tidemill"][name] for name in _KNOWN_AT_FIRST}
        self._response = begun | {"output": [], "usage": None, "tidemill": basis}
        self._number = 0
        self._open: dict[str, _Open] = {}

    def first(self) -> Iterator[Json]:
        """Yield the events that say that an answer comes."""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", {"response": self._response})

    def of(self, step: Delta | ToolCallDelta | Finished) -> Iterator[Json]:
        """Yield the events of a step after the first."""
        match step:
            case Delta():
                yield from self._reasoning(step.reasoning)
                yield from self._text(step.text, list(step.logprobs))
            case ToolCallDelta():
                yield from self._call(step)
            case Finished():
                yield from self._last(step.inference)

    def failed(self, error: TidemillError) -> Iterator[Json]:
        """Yield the events of an answer that ends with an error."""
        yield error_event(error, self._number)
        self._number += 1
        yield self._event("response.failed", {"response": failed_object(self._response, error)})

    def _reasoning(self, text: str) -> Iterator[Json]:
        if not text:
            return
        if "reasoning" not in self._open:
            yield self._added("reasoning", reasoning_item(self._inference, None, status="in_progress"))
            part = {"type": "reasoning_text", "text": ""}
            yield self._event("response.content_part.added", self._at_part("reasoning") | {"part": part})
        for piece in cut(text):
            self._open["reasoning"].said.append(piece)
            yield self._event("response.reasoning_text.delta", self._at_part("reasoning") | {"delta": piece})

    def _text(self, text: str, logprobs: list[TokenLogprob]) -> Iterator[Json]:
        if not (text or logprobs):
            return
        yield from self._begun()
        for piece in cut(text) if text else [""]:
            of_text, logprobs = logprobs[:_MAX_LOGPROBS], logprobs[_MAX_LOGPROBS:]
            yield self._delta(piece, of_text)
        while logprobs:
            yield self._delta("", logprobs[:_MAX_LOGPROBS])
            logprobs = logprobs[_MAX_LOGPROBS:]

    def _begun(self) -> Iterator[Json]:
        if "message" not in self._open:
            yield self._added("message", message_item(self._inference, [], status="in_progress"))
            yield self._event("response.content_part.added", self._at_part("message") | {"part": text_part("")})

    def _delta(self, text: str, logprobs: list[TokenLogprob]) -> Json:
        self._open["message"].said.append(text)
        tokens = [{**token_of(each), "top_logprobs": [token_of(other) for other in each.top]} for each in logprobs]
        return self._event("response.output_text.delta", self._at_part("message") | {"delta": text, "logprobs": tokens})

    def _call(self, step: ToolCallDelta) -> Iterator[Json]:
        name = f"call {step.index}"
        if name not in self._open:
            item = call_item(
                self._inference, step.index, call_id=step.id, name=step.name, arguments="", status="in_progress"
            )
            yield self._added(name, item)
        call = self._open[name]
        for piece in cut(step.arguments):
            call.said.append(piece)
            yield self._event("response.function_call_arguments.delta", call.at | {"delta": piece})

    def _last(self, finished: Inference) -> Iterator[Json]:
        whole = response_object(finished, self._asked, feedback_token=self._token)
        items = {item["id"]: item for item in whole["output"]}
        if any(item["type"] == "message" for item in items.values()):
            yield from self._begun()  # an empty answer has a message, too
        for name, each in self._open.items():
            each.item = items.get(each.item["id"]) or self._as_said(name, each)
            yield from self._done(name, each)
        output = [each.item for each in self._open.values()]
        whole["output"] = [*output, *(item for item in items.values() if item not in output)]
        name = "incomplete" if whole["status"] == "incomplete" else "completed"
        yield self._event(f"response.{name}", {"response": whole})

    def _done(self, name: str, each: _Open) -> Iterator[Json]:
        item = each.item
        match item["type"]:
            case "function_call":
                said = {"arguments": item["arguments"], "name": item["name"]}
                yield self._event("response.function_call_arguments.done", each.at | said)
            case "reasoning":
                (part,) = item["content"]
                yield self._event("response.reasoning_text.done", self._at_part(name) | {"text": part["text"]})
                yield self._event("response.content_part.done", self._at_part(name) | {"part": part})
            case _:
                (part,) = item["content"]
                for number, annotation in enumerate(part["annotations"]):
                    said = {"annotation_index": number, "annotation": annotation}
                    yield self._event("response.output_text.annotation.added", self._at_part(name) | said)
                said = {"text": part["text"], "logprobs": part["logprobs"]}
                yield self._event("response.output_text.done", self._at_part(name) | said)
                yield self._event("response.content_part.done", self._at_part(name) | {"part": part})
        yield self._event("response.output_item.done", {"output_index": each.index, "item": item})

    def _as_said(self, name: str, each: _Open) -> Json:
        """Return an item that the record does not have, as it was streamed."""
        text = "".join(each.said)
        match name:
            case "message":
                return message_item(self._inference, [text_part(text)], status="completed")
            case "reasoning":
                return reasoning_item(self._inference, text, status="completed")
            case _:
                return {**each.item, "arguments": text, "status": "completed"}

    def _added(self, name: str, item: Json) -> Json:
        opened = self._open[name] = _Open(index=len(self._open), item=item)
        return self._event("response.output_item.added", {"output_index": opened.index, "item": item})

    def _at_part(self, name: str) -> Json:
        return {**self._open[name].at, "content_index": 0}

    def _event(self, kind: str, said: Json) -> Json:
        event = {"type": kind, "sequence_number": self._number, **said}
        self._number += 1
        return event
