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
     "cache": {"kind", "inference", "saved_input_tokens", "saved_output_tokens", "saved_time_s", "saved_cost",
               "currency", "similarity"}, only in an answer given again,
     "conversation": "..." or "",
     "feedback_token": "..."}

Citations are also a message's `annotations`, in a stream in chunks before the last: `url_citation` where the document
has an address, else `file_citation` with the document's id. What a model thinks is `reasoning_content`.

A citation is a span of the answer, half-open and in code points, and the id of the passage that it cites; a passage's
span is one of the document's version. With the token, `POST /v1/feedback` accepts a reaction to this answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tidemill_inference.caching.domain.use import CacheUse
from tidemill_inference.generation.domain.content import Candidate, Message, Passage, TokenLogprob, TopLogprob
from tidemill_inference.generation.domain.inference import Inference, Usage
from tidemill_inference.generation.ports import Delta, Finished, ToolCallDelta

Json = dict[str, Any]
_SHORT = ("id", "document", "version", "start", "end", "score")
_MAX_CHARACTERS = 4096
"""Of the text of one chunk: JSON may write each in six bytes, and readers of lines take 64 KiB."""
_MAX_CITATIONS = 500
"""Of one chunk."""
_MAX_ANNOTATIONS = 20
"""Of one chunk: each has a title and an address."""
_MAX_LOGPROBS = 16
"""Of one chunk: each may have twenty others in its place."""


def completion(inference: Inference, *, feedback_token: str) -> Json:
    """Return a whole answer; `usage` is null where the record of an earlier request did not keep it."""
    return {
        **_head(inference, "chat.completion"),
        "choices": [
            {
                "index": number,
                "message": _message(candidate, inference.passages),
                "logprobs": _logprobs(candidate.logprobs),
                "finish_reason": candidate.finish_reason,
            }
            for number, candidate in enumerate(candidates_of(inference))
        ],
        "usage": _usage(inference.usage),
        "tidemill": basis_of(inference, feedback_token),
    }


def candidates_of(inference: Inference) -> Sequence[Candidate]:
    """Return all answers, the first of which is the record's own."""
    own = Candidate(output=inference.output, finish_reason=inference.finish_reason, logprobs=inference.logprobs)
    return (own, *inference.alternatives)


class Chunks:
    """The chunks of one streamed answer, from the step that began it."""

    def __init__(self, started: Inference, *, include_usage: bool, feedback_token: str, candidates: int = 1) -> None:
        self._feedback_token = feedback_token
        self._head = _head(started, "chat.completion.chunk")
        self._include_usage = include_usage
        self._candidates = candidates

    def first(self) -> Iterator[Json]:
        """Yield the chunks that say who speaks."""
        for number in range(self._candidates):
            yield self._chunk({"role": "assistant", "content": "", "refusal": None}, index=number)

    def of(self, step: Delta | ToolCallDelta | Finished) -> Iterator[Json]:
        """Yield the chunks of a step after the first."""
        yield from self.last(step.inference) if isinstance(step, Finished) else self.more(step)

    def more(self, step: Delta | ToolCallDelta) -> Iterator[Json]:
        """Yield the chunks of more of an answer."""
        if isinstance(step, ToolCallDelta):
            yield from self._call(step)
            return
        for text in cut(step.reasoning):
            yield self._chunk({"reasoning_content": text}, index=step.candidate)
        logprobs = list(step.logprobs)
        for text in cut(step.text):
            of_text, logprobs = logprobs[:_MAX_LOGPROBS], logprobs[_MAX_LOGPROBS:]
            yield self._chunk({"content": text}, index=step.candidate, logprobs=of_text)
        while logprobs:
            yield self._chunk({"content": ""}, index=step.candidate, logprobs=logprobs[:_MAX_LOGPROBS])
            logprobs = logprobs[_MAX_LOGPROBS:]

    def last(self, finished: Inference) -> Sequence[Json]:
        """Return what the text rests on, why it ended, and then what it cost where that was asked for."""
        own, *others = candidates_of(finished)
        chunks = [*self._annotated(finished)]
        chunks += [self._chunk({}) | {"tidemill": {"passage": asdict(passage)}} for passage in finished.passages]
        passages = [{name: getattr(passage, name) for name in _SHORT} for passage in finished.passages]
        basis = basis_of(finished, self._feedback_token) | {"passages": passages}
        while len(citations := basis["citations"]) > _MAX_CITATIONS:
            chunks.append(self._chunk({}) | {"tidemill": {"citations": citations[:_MAX_CITATIONS]}})
            basis["citations"] = citations[_MAX_CITATIONS:]
        for number, candidate in enumerate(others, start=1):
            chunks.append(self._chunk({}, index=number, finish_reason=candidate.finish_reason))
        chunks.append(self._chunk({}, finish_reason=own.finish_reason) | {"tidemill": basis})
        if self._include_usage:
            chunks.append({**self._head, "choices": [], "usage": _usage(finished.usage)})
        return chunks

    def _annotated(self, finished: Inference) -> Iterator[Json]:
        for number, candidate in enumerate(candidates_of(finished)):
            annotations = annotations_of(candidate.output, finished.passages)
            for start in range(0, len(annotations), _MAX_ANNOTATIONS):
                yield self._chunk({"annotations": annotations[start : start + _MAX_ANNOTATIONS]}, index=number)

    def _call(self, step: ToolCallDelta) -> Iterator[Json]:
        if step.id or step.name:
            function = {"name": step.name, "arguments": ""}
            begun = {"index": step.index, "id": step.id, "type": "function", "function": function}
            yield self._chunk({"tool_calls": [begun]}, index=step.candidate)
        for text in cut(step.arguments):
            more = {"index": step.index, "function": {"arguments": text}}
            yield self._chunk({"tool_calls": [more]}, index=step.candidate)

    def _chunk(
        self, delta: Json, *, index: int = 0, logprobs: Sequence[TokenLogprob] = (), finish_reason: str | None = None
    ) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        chunk = {**self._head, "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk


def cut(text: str) -> Iterator[str]:
    """Yield a text in pieces for one chunk each."""
    for start in range(0, len(text), _MAX_CHARACTERS):
        yield text[start : start + _MAX_CHARACTERS]


def _message(candidate: Candidate, passages: Sequence[Passage]) -> Json:
    content = "".join(message.text for message in candidate.output)
    calls = [call for message in candidate.output for call in message.tool_calls]
    thought = "".join(message.reasoning for message in candidate.output)
    made = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
        for call in calls
    ]
    return {
        "role": "assistant",
        "content": (content or None) if calls else content,
        "refusal": None,
        "annotations": annotations_of(candidate.output, passages),
        **({"tool_calls": made} if made else {}),
        **({"reasoning_content": thought} if thought else {}),
    }


def annotations_of(output: Sequence[Message], passages: Sequence[Passage]) -> list[Json]:
    """Return the citations in OpenAI's shape: of a document's address, or else of the document by its id."""
    named = {passage.id: passage for passage in passages}
    return [
        _annotation(each["start"], each["end"], named[each["passage"]])
        for each in _citations(output)
        if each["passage"] in named
    ]


def _annotation(start: int, end: int, passage: Passage) -> Json:
    span = {"start_index": start, "end_index": end}
    title = ", ".join(each for each in (passage.title or passage.key, passage.place) if each)
    if passage.uri:
        return {"type": "url_citation", "url_citation": {**span, "url": passage.uri, "title": title}}
    return {"type": "file_citation", "file_citation": {**span, "file_id": passage.document, "filename": title}}


def _logprobs(logprobs: Sequence[TokenLogprob]) -> Json | None:
    if not logprobs:
        return None
    content = [{**token_of(each), "top_logprobs": [token_of(other) for other in each.top]} for each in logprobs]
    return {"content": content, "refusal": None}


def token_of(each: TokenLogprob | TopLogprob) -> Json:
    """Return a token with its log probability."""
    return {"token": each.text, "logprob": each.logprob, "bytes": list(each.utf8)}


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
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }


def basis_of(inference: Inference, feedback_token: str) -> Json:
    """Return the field `tidemill` of a whole answer."""
    return {
        "variant": asdict(inference.variant) if inference.variant else None,
        "citations": _citations(inference.output),
        "citation_valid": inference.citation_valid,
        "passages": [asdict(passage) for passage in inference.passages],
        "warnings": list(inference.warnings),
        "conversation": inference.conversation,
        "feedback_token": feedback_token,
        **({"cache": _cache(inference.cache)} if inference.cache else {}),
    }


def _cache(use: CacheUse) -> Json:
    return {
        "kind": use.kind.value,
        "inference": use.inference,
        "saved_input_tokens": use.saved_input_tokens,
        "saved_output_tokens": use.saved_output_tokens,
        "saved_time_s": use.saved_time_s,
        "saved_cost": use.saved_cost,
        "currency": use.currency,
        "similarity": use.similarity,
    }


def _citations(output: Sequence[Message]) -> list[Json]:
    """Return the citations of all parts, as spans of the text that these come to together."""
    found, begin = [], 0
    for message in output:
        at = begin
        for part in message.parts:
            if (said := part.spoken) is None:
                continue
            found += [
                {"start": at + each.start, "end": at + each.end, "passage": each.passage} for each in part.citations
            ]
            at += len(said) + 1  # the line break that Message.text puts between parts
        begin += len(message.text)
    return found
