"""What OpenAI-compatible endpoints say of errors, read for what it means: their words may quote the prompt."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum (?:prompt|input|model) length|max_model_len|reduce the length of"
    r"|\b(?:prompt|inputs?|messages?)\b.{0,80}?(?:too (?:long|large)\b|longer than|\bexceeds?\b)"
    r"|\binputs\b.{0,80}?must (?:have less than|be <=)"
    r"|\btokens?\b.{0,40}?\b(?:exceeds?|more than)\b.{0,20}?\b(?:max|limit|allowed)"
)
"""How OpenAI, Anthropic, Mistral, Google, xAI, vLLM, SGLang, TGI, llama.cpp and Ollama say that a model takes less."""
CAPABILITIES: Mapping[str, str] = {
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls"), "tools"),
    "response_format": "output_format",
    "n": "candidate_count",
    **{name: f"sampling.{name}" for name in ("logprobs", "top_logprobs", "logit_bias")},
    **{name: f"sampling.{name}" for name in ("presence_penalty", "frequency_penalty")},
}
"""Parameters that a server may not know, and the fields of a question that ask for them."""
_PARAMETERS = (
    *("temperature", "top_p", "seed", "stop", "max_tokens", "max_completion_tokens", "stream_options"),
    *CAPABILITIES,
)
_UNSUPPORTED = re.compile(r"unsupported|not (?:yet )?(?:support|implement|allow|permit)|n't support|unknown|unrecogni")
_QUOTED = re.compile(rf"[`'\"]({'|'.join(_PARAMETERS)})[`'\"]")
_MAX_SAID = 4096
DEFAULT_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """The beginning of an endpoint's words, its code, and the parameter that it names."""

    words: str
    code: object = None
    param: object = None

    @classmethod
    def of_body(cls, body: bytes) -> "Said":
        """Read the body of an answer that is an error, which need not be JSON."""
        text = body.decode(errors="replace")
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return cls(text[:_MAX_SAID])
        return cls.of(said.get("error", said) if isinstance(said, dict) else said)

    @classmethod
    def of(cls, error: object) -> "Said":
        """Read the field `error` of a body, or of an event."""
        fields = error if isinstance(error, dict) else {}
        message = fields.get("message", error)
        words = message if isinstance(message, str) else str(message)
        return cls(f"{fields.get('code')} {words[:_MAX_SAID]}", code=fields.get("code"), param=fields.get("param"))

    @property
    def too_long(self) -> bool:
        """Whether the model takes less than it was sent."""
        return _TOO_LONG.search(self.words.lower()) is not None

    @property
    def busy(self) -> bool:
        """Whether an error event, which has no status, says what status 429 does."""
        return str(self.code) in {"429", "rate_limit_exceeded"}

    @property
    def unsupported(self) -> bool:
        """Whether something is not known there."""
        return _UNSUPPORTED.search(self.words.lower()) is not None

    @property
    def parameter(self) -> str:
        """The parameter that is refused, as one that was sent is called, or ""."""
        if isinstance(self.param, str) and self.param in _PARAMETERS:
            return self.param
        found = _QUOTED.search(self.words)
        return found[1] if found else ""


class ErrorEvent(Exception):
    """An event of a stream that is an error."""

    def __init__(self, error: object) -> None:
        super().__init__()
        self.said = Said.of(error)


def pause_s(headers: Mapping[str, str]) -> float:
    """Return when the endpoint is to be asked again, from seconds, milliseconds or a date (RFC 9110, 10.2.3)."""
    for name, read in (("retry-after-ms", _milliseconds), ("retry-after", float), ("retry-after", _until)):
        try:
            found = read(headers.get(name, ""))
        except (ValueError, TypeError, OverflowError):
            continue
        return min(found, _MAX_PAUSE_S) if found > 0 else DEFAULT_PAUSE_S
    return DEFAULT_PAUSE_S


def _milliseconds(said: str) -> float:
    return float(said) / 1000


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
