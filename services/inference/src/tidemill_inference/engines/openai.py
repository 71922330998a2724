"""A model behind any OpenAI-compatible endpoint, by OpenAI's own client."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import structlog
from openai import AsyncOpenAI, AsyncStream
from pydantic import SecretStr

from tidemill_core.errors import (
    Blame,
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)
from tidemill_inference.engines.openai_chunks import Chunks, NotHandedOnError
from tidemill_inference.engines.openai_requests import messages_of, parameters_of
from tidemill_inference.engines.ports import Capability, Generated, Piece, Prompt, RemoteModel, ToolCallPiece
from tidemill_inference.errors import CapabilityMissing, PromptTooLong

MAX_ANSWER_CHARACTERS = 1024 * 1024
MAX_EVENTS = 256 * 1024
"""Events of one answer, with text or without."""
MAX_OBJECTS = 512 * 1024
"""What one answer may take beside its text: pieces, and log probabilities of tokens, each with some text."""
_CHARACTERS_OF_OBJECT = 16
_EVENTS_IN_A_TURN = 16
"""After which others have the event loop, however fast an endpoint sends."""
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum (?:prompt|input|model) length|max_model_len|reduce the length of"
    r"|\b(?:prompt|inputs?|messages?)\b.{0,80}?(?:too (?:long|large)\b|longer than|\bexceeds?\b)"
    r"|\binputs\b.{0,80}?must (?:have less than|be <=)"
    r"|\btokens?\b.{0,40}?\b(?:exceeds?|more than)\b.{0,20}?\b(?:max|limit|allowed)"
)
"""How OpenAI, Anthropic, Mistral, Google, xAI, vLLM, SGLang, TGI, llama.cpp and Ollama say that a model takes less."""
_MAX_SAID = 4096
_CAPABILITIES: Mapping[str, str] = {
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls"), "tools"),
    "response_format": "output_format",
    "n": "candidate_count",
    **{name: f"sampling.{name}" for name in ("logprobs", "top_logprobs", "logit_bias")},
    **{name: f"sampling.{name}" for name in ("presence_penalty", "frequency_penalty")},
}
"""Parameters that a server may not know, and the fields of a question that ask for them."""
_PARAMETERS = (
    *("temperature", "top_p", "seed", "stop", "max_tokens", "max_completion_tokens", "stream_options"),
    *_CAPABILITIES,
)
_UNSUPPORTED = re.compile(r"unsupported|not (?:yet )?(?:support|implement|allow|permit)|n't support|unknown|unrecogni")
_QUOTED = re.compile(rf"[`'\"]({'|'.join(_PARAMETERS)})[`'\"]")
_DEFAULT_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0
_BUSY, _BUSY_IF_IT_SAYS_WHEN = frozenset({429, 529}), 503
_TOO_LARGE, _REFUSED = 413, frozenset({400, 422})
_HEADERS = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"}
)
"""What is sent beside the key; the client adds others of the environment, which may be secrets."""
_log = structlog.get_logger(__name__)
_NO_KEY = "none"  # with an empty one the client sends OPENAI_API_KEY of the environment to any host


class OpenAiEngine:
    """Implements `ports.Engine`. The endpoint knows its tokens and its limits; this side does not."""

    context_tokens = None
    capabilities = frozenset(Capability)
    """All of them are passed on; what the endpoint does not take, it refuses."""

    def __init__(
        self,
        model: RemoteModel,
        *,
        key: SecretStr | None,
        transport: httpx2.AsyncBaseTransport,
        stall_s: float,
        frank: bool = False,
    ) -> None:
        """`stall_s` is the timeout without data, before the first token or between two.

        With `frank` errors say how the endpoint failed. Else only the log does, so that errors cannot be used to scan
        the internal network.
        """
        self._model = model.model
        self._frank = frank
        self._stall_s = stall_s
        self._host = urlsplit(model.base_url).hostname or model.base_url
        secret = key.get_secret_value() if key else _NO_KEY

        async def with_own_headers(request: httpx2.Request) -> None:
            kept = [(name, value) for name, value in request.headers.multi_items() if name in _HEADERS]
            request.headers = httpx2.Headers([*kept, ("authorization", f"Bearer {secret}")])

        self._client = AsyncOpenAI(
            base_url=model.base_url,
            api_key=secret,
            timeout=stall_s,
            max_retries=0,  # the routing has the retries
            default_headers={"accept-encoding": "identity"},
            # Neither a redirect nor a proxy of the environment: the transport alone decides where it goes.
            http_client=httpx2.AsyncClient(
                transport=transport,
                timeout=stall_s,
                follow_redirects=False,
                trust_env=False,
                event_hooks={"request": [with_own_headers]},
            ),
        )
        # OpenAI itself has given the limit a new name, which other servers do not all know.
        openai_itself = f".{self._host}".endswith(".openai.com")
        self._limit_name = "max_completion_tokens" if openai_itself else "max_tokens"
        self._asks_for_usage = True
        self.fingerprint = f"openai {openai.__version__} {self._host}"

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()

    async def count_tokens(self, prompt: Prompt) -> None:
        """See `Engine.count_tokens`: the endpoint counts."""

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        with self._translated():
            async with asyncio.timeout(timeout_s):
                stream = await self._stream(prompt)
        answer = Chunks(candidates=prompt.candidates, logprobs=bool(prompt.sampling.logprobs))
        events, characters, objects = 0, 0, 0
        try:
            chunks = aiter(stream)
            while (chunk := await self._next(chunks, deadline)) is not None:
                with self._translated():
                    pieces = list(answer.feed(chunk))
                for piece in pieces:
                    characters, objects = characters + _length(piece), objects + _objects(piece)
                    yield piece
                events += 1
                if characters > MAX_ANSWER_CHARACTERS or events > MAX_EVENTS or objects > MAX_OBJECTS:
                    raise self._unavailable(what="does not stop answering")
                if events % _EVENTS_IN_A_TURN == 0:
                    await asyncio.sleep(0)
            for rest in answer.end():
                yield rest
        finally:
            await stream.close()
        try:
            finishes = answer.finishes()
        except ValueError as error:
            raise self._unavailable(what="broke its answer off, or answered nonsense") from error
        for finish in finishes:
            yield finish

    async def _stream(self, prompt: Prompt) -> Any:  # noqa: ANN401 - see `_next`
        """Return the chunks; what a server turns out not to take is sent otherwise from then on."""
        while True:
            sent = self._request(prompt)
            try:
                return await self._asked(sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if "max_tokens" in sent and "max_completion_tokens" in _said(error):
                    self._limit_name = "max_completion_tokens"
                elif "stream_options" in sent and "stream_options" in _said(error):
                    self._asks_for_usage = False
                else:
                    raise
                if self._request(prompt) == sent:  # there is no other way to send it
                    raise

    async def _asked(self, body: Mapping[str, Any]) -> AsyncStream[object]:
        """Return the chunks as JSON: the client's classes take a hundred times as long to make of a hostile one."""
        return await self._client.post(
            "/chat/completions", cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
        )

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": messages_of(prompt),
            "stream": True,
            **({"stream_options": {"include_usage": True}} if self._asks_for_usage else {}),
            **parameters_of(prompt, limit_name=self._limit_name),
        }

    async def _next(self, chunks: Any, deadline: float) -> Any:  # noqa: ANN401 - what a server sends need not fit
        with self._translated():
            async with asyncio.timeout(min(self._stall_s, deadline - time.monotonic())):
                return await anext(chunks, None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the client's errors into the kit's; the endpoint's own words stay out, they may quote the prompt."""
        try:
            yield
        except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException) as error:
            raise self._unavailable(what="does not answer in time", kind=DependencyTimedOut) from error
        except openai.APIConnectionError as error:
            raise self._unavailable(what="cannot be reached") from error
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except NotHandedOnError as error:
            raise self._unavailable(what=f"answers with {error}, which are not handed on,") from error
        except (openai.OpenAIError, httpx2.HTTPError, LookupError, ValueError, TypeError, RecursionError) as error:
            if _is_too_long(error):
                raise PromptTooLong from error
            if _is_busy(error):
                raise self._busy(_DEFAULT_PAUSE_S) from error
            # Whatever the client stumbles over in an answer is the endpoint's nonsense.
            raise self._unavailable(what="answers nonsense") from error

    def _refusal(self, error: openai.APIStatusError) -> TidemillError:
        """Return what a status means; of the endpoint's words only the name of a parameter that was sent."""
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                message = f"{self._host} refuses the key for model {self._model}: check the secret"
                return PreconditionFailed(message, model=self._model)
            case openai.NotFoundError():
                message = f"{self._host} has no model {self._model}: check its name and the base_url"
                return PreconditionFailed(message, model=self._model)
            case _ if _is_busy_status(error.response):
                return self._busy(_pause_s(error.response.headers))
            case _ if error.status_code == _TOO_LARGE or (error.status_code in _REFUSED and _is_too_long(error)):
                return PromptTooLong()
            case openai.BadRequestError() | openai.UnprocessableEntityError():
                return self._not_accepted(error)
            case _:
                return self._unavailable(what=f"fails with HTTP status {error.status_code}")

    def _not_accepted(self, error: openai.APIStatusError) -> InvalidInput:
        code = error.code if isinstance(error.code, str) else error.status_code
        named = _parameter(error)
        if named in _CAPABILITIES and _UNSUPPORTED.search(_said(error).lower()):
            return CapabilityMissing(_CAPABILITIES[named], model=f"{self._model} of {self._host}")
        what = f"{named} as it is" if named else "this request"
        cure = f": set another {named}, or none, in the deployment or the request" if named else ""
        message = f"{self._host} does not accept {what} for model {self._model} ({code}){cure}"
        return InvalidInput(message, model=self._model, code=code)

    def _busy(self, pause_s: float) -> RateLimited:
        message = f"{self._host} rejects further requests for model {self._model} at the moment: try again later"
        return RateLimited(message, retry_after_s=pause_s, model=self._model)

    def _unavailable(
        self, what: str, *, kind: type[DependencyUnavailable] = DependencyUnavailable
    ) -> DependencyUnavailable:
        if not self._frank:
            _log.warning("remote_model_failed", host=self._host, model=self._model, why=what)
            what = "gives no usable answer (check its base_url; the log of inference says more)"
        message = f"{self._host} {what} for model {self._model}"
        return kind(
            message,
            dependency=self._host,
            blame=Blame.VARIANT,
            model=self._model,
        )


def _length(piece: Piece | ToolCallPiece) -> int:
    if isinstance(piece, ToolCallPiece):
        return len(piece.arguments)
    return len(piece.text) + len(piece.reasoning)


def _objects(piece: Piece | ToolCallPiece) -> int:
    """Return what a piece takes beside its text."""
    if isinstance(piece, ToolCallPiece) or not piece.logprobs:
        return 1
    sizes = [len(each.text) + len(each.utf8) for each in piece.logprobs]
    sizes += [len(each.text) + len(each.utf8) for said in piece.logprobs for each in said.top]
    return 1 + sum(1 + size // _CHARACTERS_OF_OBJECT for size in sizes)


def _is_busy(error: Exception) -> bool:
    """Return whether an error event, which has no status, says what status 429 does."""
    return isinstance(error, openai.APIError) and str(error.code) in {"429", "rate_limit_exceeded"}


def _is_busy_status(response: httpx2.Response) -> bool:
    """Return whether an endpoint takes no more at the moment: it says so, or says when it will."""
    status = response.status_code
    return status in _BUSY or (status == _BUSY_IF_IT_SAYS_WHEN and "retry-after" in response.headers)


def _said(error: openai.APIError) -> str:
    """Return the beginning of an endpoint's words, also of an error that is no object but a text."""
    text = error.body if isinstance(error.body, str) else ""
    return f"{error.code} {error.message[:_MAX_SAID]} {text[:_MAX_SAID]}"


def _is_too_long(error: Exception) -> bool:
    return isinstance(error, openai.APIError) and _TOO_LONG.search(_said(error).lower()) is not None


def _parameter(error: openai.APIStatusError) -> str:
    """Return the parameter that is refused, as one that was sent is called, or ""."""
    if error.param in _PARAMETERS:
        return error.param or ""
    found = _QUOTED.search(_said(error))
    return found[1] if found else ""


def _pause_s(headers: Mapping[str, str]) -> float:
    """Return when the endpoint is to be asked again, from seconds, milliseconds or a date (RFC 9110, 10.2.3)."""
    for name, pause_s in (("retry-after-ms", _milliseconds), ("retry-after", float), ("retry-after", _until)):
        try:
            found = pause_s(headers.get(name, ""))
        except (ValueError, TypeError):
            continue
        return min(found, _MAX_PAUSE_S) if found > 0 else _DEFAULT_PAUSE_S
    return _DEFAULT_PAUSE_S


def _milliseconds(said: str) -> float:
    return float(said) / 1000


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
