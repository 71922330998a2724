"""Answers and errors in the shapes of OpenAI's API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidemill_inference.domain.deployment import Deployment
from tidemill_inference.domain.errors import DeploymentNotFound
from tidemill_inference.domain.inference import Inference
from tidemill_kit.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    TidemillError,
    Unauthenticated,
)

Json = dict[str, Any]

_STATUSES: Mapping[type[TidemillError], tuple[int, str]] = {
    InvalidInput: (400, "invalid_request_error"),
    PreconditionFailed: (400, "invalid_request_error"),
    Unauthenticated: (401, "authentication_error"),
    PermissionDenied: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    Conflict: (409, "conflict_error"),
    RateLimited: (429, "rate_limit_error"),
    DependencyUnavailable: (503, "server_error"),
    DeadlineExceeded: (504, "server_error"),
}


def completion(inference: Inference) -> Json:
    """Return a whole answer."""
    message = {"role": "assistant", "content": _text(inference), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": inference.finish_reason, "logprobs": None}
    return _head(inference, "chat.completion") | {
        "choices": [choice],
        "usage": usage(inference),
        "tidemill": extension(inference),
    }


def chunk(inference: Inference, delta: Json, *, finish_reason: str | None = None) -> Json:
    """Return one piece of a streamed answer; `inference` is the one that the stream began with."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return _head(inference, "chat.completion.chunk") | {"choices": [choice]}


def last_chunk(inference: Inference) -> Json:
    """Return the chunk that ends the text, with what the whole answer rests on."""
    return chunk(inference, {}, finish_reason=inference.finish_reason) | {"tidemill": extension(inference)}


def usage_chunk(inference: Inference) -> Json:
    """Return the chunk behind the last one, where a caller asked for it."""
    return _head(inference, "chat.completion.chunk") | {"choices": [], "usage": usage(inference)}


def usage(inference: Inference) -> Json | None:
    """Return what it cost, None where the record does not keep it."""
    used = inference.usage
    if used is None:
        return None
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }


def extension(inference: Inference) -> Json:
    """Return what OpenAI's API has no place for: the field `tidemill`. Citations are in code points of the text."""
    variant = inference.variant
    return {
        "citations": [
            {"start": each.start, "end": each.end, "passage": each.passage}
            for message in inference.output
            for part in message.parts
            for each in part.citations
        ],
        "citation_valid": inference.citation_valid,
        "passages": [
            {
                "id": passage.id,
                "document": passage.document,
                "version": passage.version,
                "start": passage.start,
                "end": passage.end,
                "score": passage.score,
                "source": passage.source,
                "key": passage.key,
                "title": passage.title,
                "uri": passage.uri,
                "text": passage.text,
            }
            for passage in inference.passages
        ],
        "warnings": list(inference.warnings),
        "variant": {"name": variant.name, "model": variant.model, "prompt": variant.prompt, "index": variant.index}
        if variant
        else None,
    }


def model(deployment: Deployment) -> Json:
    """Return a deployment as OpenAI's API lists models."""
    created = _seconds(deployment.create_time)
    return {"id": deployment.id, "object": "model", "created": created, "owned_by": deployment.project}


def error_of(error: TidemillError) -> tuple[int, Json]:
    """Return the HTTP status and the body of an error."""
    status, kind = next((_STATUSES[each] for each in type(error).__mro__ if each in _STATUSES), (500, "server_error"))
    violations = error.violations if isinstance(error, InvalidInput) else ()
    parameter = violations[0].field if violations else None
    code = error.reason.lower()
    if isinstance(error, DeploymentNotFound):
        parameter, code = "model", "model_not_found"
    return status, {"error": {"message": error.message, "type": kind, "param": parameter, "code": code}}


def _head(inference: Inference, kind: str) -> Json:
    return {
        "id": inference.id,
        "object": kind,
        "created": _seconds(inference.create_time),
        "model": inference.deployment,
        "system_fingerprint": inference.variant.configuration[:16] if inference.variant else None,
    }


def _text(inference: Inference) -> str:
    return "".join(message.text for message in inference.output)


def _seconds(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0
