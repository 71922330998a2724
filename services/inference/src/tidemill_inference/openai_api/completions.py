"""Answers in the shapes of OpenAI's API, with a field `tidemill` for what they have no field for.

`id` is the inference's id, `model` the deployment. The top-level object `tidemill` is in a whole answer, and in the
chunk of a stream with `finish_reason`, there without the long fields of its passages (`source` and all after it). A
stream sends whole passages in chunks before it, one each, as `tidemill.passage`: many clients limit the length of a
line. For the same reason long text is sent in several chunks, and of more than 500 citations the first ones are sent
before the last chunk, as `tidemill.citations`, 500 each.

    {"variant": {"name", "configuration", "model", "prompt", "index", "engine"},
     "citations": [{"start", "end", "passage"}],
     "citation_valid": 0.0 to 1.0, or null without passages,
     "passages": [{"id", "document", "version", "start", "end", "score", "source", "key", "title", "uri", "text"}],
     "warnings": ["..."],
     "conversation": "..." or "",
     "feedback_token": "..."}

A citation is a span of the answer, half-open and in code points, and the id of the passage that it cites; a passage's
span is one of the document's version. With the token, `POST /v1/feedback` accepts a reaction to this answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.inference import Inference, Usage

Json = dict[str, Any]
_SHORT = ("id", "document", "version", "start", "end", "score")
_MAX_CHARACTERS = 4096
"""Of the text of one chunk: JSON may write each in six bytes, and readers of lines take 64 KiB."""
_MAX_CITATIONS = 500
"""Of one chunk."""


def completion(inference: Inference, *, feedback_token: str) -> Json:
    """Return a whole answer; `usage` is null where the record of an earlier request did not keep it."""
    content = "".join(message.text for message in inference.output)
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": inference.finish_reason}
    return {
        **_head(inference, "chat.completion"),
        "choices": [choice],
        "usage": _usage(inference.usage),
        "tidemill": _basis(inference, feedback_token),
    }


class Chunks:
    """The chunks of one streamed answer, from the step that began it."""

    def __init__(self, started: Inference, *, include_usage: bool, feedback_token: str) -> None:
        self._feedback_token = feedback_token
        self._head = _head(started, "chat.completion.chunk")
        self._include_usage = include_usage

    def first(self) -> Json:
        """Return the chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def more(self, text: str) -> Iterator[Json]:
        """Yield the chunks of a text."""
        for start in range(0, len(text), _MAX_CHARACTERS):
            yield self._chunk({"content": text[start : start + _MAX_CHARACTERS]})

    def last(self, finished: Inference) -> Sequence[Json]:
        """Return what the text rests on, why it ended, and then what it cost where that was asked for."""
        chunks = [self._chunk({}) | {"tidemill": {"passage": asdict(passage)}} for passage in finished.passages]
        passages = [{name: getattr(passage, name) for name in _SHORT} for passage in finished.passages]
        basis = _basis(finished, self._feedback_token) | {"passages": passages}
        while len(citations := basis["citations"]) > _MAX_CITATIONS:
            chunks.append(self._chunk({}) | {"tidemill": {"citations": citations[:_MAX_CITATIONS]}})
            basis["citations"] = citations[_MAX_CITATIONS:]
        chunks.append(self._chunk({}, finish_reason=finished.finish_reason) | {"tidemill": basis})
        if self._include_usage:
            chunks.append({**self._head, "choices": [], "usage": _usage(finished.usage)})
        return chunks

    def _chunk(self, delta: Json, *, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head, "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk


def _head(inference: Inference, kind: str) -> Json:
    return {
        "id": inference.id,
        "object": kind,
        "created": int(inference.create_time.timestamp()) if inference.create_time else 0,
        "model": inference.deployment,
        "system_fingerprint": inference.variant.configuration if inference.variant else None,
    }


def _usage(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _basis(inference: Inference, feedback_token: str) -> Json:
    return {
        "variant": asdict(inference.variant) if inference.variant else None,
        "citations": _citations(inference.output),
        "citation_valid": inference.citation_valid,
        "passages": [asdict(passage) for passage in inference.passages],
        "warnings": list(inference.warnings),
        "conversation": inference.conversation,
        "feedback_token": feedback_token,
    }


def _citations(output: Sequence[Message]) -> list[Json]:
    """Return the citations of all parts, as spans of the text that these come to together."""
    found, begin = [], 0
    for message in output:
        at = begin
        for part in message.parts:
            found += [
                {"start": at + each.start, "end": at + each.end, "passage": each.passage} for each in part.citations
            ]
            at += len(part.text) + 1  # the line break that Message.text puts between parts
        begin += len(message.text)
    return found
