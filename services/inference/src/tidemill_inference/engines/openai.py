"""A model behind any OpenAI-compatible endpoint."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import structlog
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
from tidemill_inference.engines.endpoint import Answer, ConnectionFailed, Endpoint, Refused
from tidemill_inference.engines.event_stream import EventStream
from tidemill_inference.engines.openai_chunks import Chunks, NotHandedOnError
from tidemill_inference.engines.openai_errors import CAPABILITIES, DEFAULT_PAUSE_S, ErrorEvent, Said, pause_s
from tidemill_inference.engines.openai_requests import messages_of, parameters_of
from tidemill_inference.engines.ports import Capability, Generated, Piece, Prompt, RemoteModel, ToolCallPiece
from tidemill_inference.errors import CapabilityMissing, PromptTooLong
from tidemill_kit.outgoing.addresses import CheckedAddresses

MAX_ANSWER_CHARACTERS = 1024 * 1024
MAX_EVENTS = 256 * 1024
"""Events of one answer, with text or without."""
MAX_OBJECTS = 512 * 1024
"""What one answer may take beside its text: pieces, and log probabilities of tokens, each with some text."""
_CHARACTERS_OF_OBJECT = 16
_EVENTS_IN_A_TURN = 16
"""After which others have the event loop, however fast an endpoint sends."""
_BUSY, _BUSY_IF_IT_SAYS_WHEN = frozenset({429, 529}), 503
_REFUSED = frozenset({400, 422})
_log = structlog.get_logger(__name__)


class OpenAiEngine:
    """Implements `ports.Engine`. The endpoint knows its tokens and its limits; this side does not."""

    context_tokens = None
    capabilities = frozenset(Capability)
    """All of them are passed on; what the endpoint does not take, it refuses."""
    _path = "/chat/completions"

    def __init__(
        self,
        model: RemoteModel,
        *,
        key: SecretStr | None,
        addresses: CheckedAddresses,
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
        self._endpoint = Endpoint(model.base_url, addresses, key=key, stall_s=stall_s)
        # OpenAI itself has given the limit a new name, which other servers do not all know.
        openai_itself = f".{self._host}".endswith(".openai.com")
        self._limit_name = "max_completion_tokens" if openai_itself else "max_tokens"
        self._asks_for_usage = True
        self.fingerprint = f"openai {self._host}"

    async def close(self) -> None:
        """Let the connections go."""
        await self._endpoint.close()

    async def count_tokens(self, prompt: Prompt) -> None:
        """See `Engine.count_tokens`: the endpoint counts."""

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        with self._translated():
            async with asyncio.timeout(timeout_s):
                sent = await self._sent(prompt)
        answer = Chunks(candidates=prompt.candidates, logprobs=bool(prompt.sampling.logprobs))
        stream, received, count, characters, objects = EventStream(), time.monotonic(), 0, 0, 0
        try:
            while not stream.done and (data := await self._more(sent, until=min(received + self._stall_s, deadline))):
                for pieces in self._pieces(answer, stream, data):
                    for piece in pieces:
                        characters, objects = characters + _length(piece), objects + _objects(piece)
                        yield piece
                    count += 1
                    if characters > MAX_ANSWER_CHARACTERS or count > MAX_EVENTS or objects > MAX_OBJECTS:
                        raise self._unavailable(what="does not stop answering")
                    if count % _EVENTS_IN_A_TURN == 0:
                        await asyncio.sleep(0)
                received = time.monotonic() if stream.has_new else received
            for rest in answer.end():
                yield rest
        finally:
            await sent.leave(ended=stream.done)
        try:
            finishes = answer.finishes()
        except ValueError as error:
            raise self._unavailable(what="broke its answer off, or answered nonsense") from error
        for finish in finishes:
            yield finish

    async def _sent(self, prompt: Prompt) -> Answer:
        """Return the answer; what a server turns out not to take is sent otherwise from then on."""
        while True:
            body = self._request(prompt)
            try:
                return await self._endpoint.post(self._path, body)
            except Refused as error:
                words = Said.of_body(error.body).words if error.status in _REFUSED else ""
                if "max_tokens" in body and "max_completion_tokens" in words:
                    self._limit_name = "max_completion_tokens"
                elif "stream_options" in body and "stream_options" in words:
                    self._asks_for_usage = False
                else:
                    raise
                if self._request(prompt) == body:  # there is no other way to send it
                    raise

    async def _more(self, sent: Answer, *, until: float) -> bytes:
        with self._translated():
            async with asyncio.timeout(until - time.monotonic()):
                return await sent.more()

    def _pieces(self, answer: Chunks, stream: EventStream, data: bytes) -> Iterator[Sequence[Piece | ToolCallPiece]]:
        """Yield the pieces of each event."""
        with self._translated():
            for said in stream.feed(data):
                if isinstance(said, dict) and said.get("error"):
                    raise ErrorEvent(said["error"])
                yield list(answer.feed(self._as_chat(said)))

    @staticmethod
    def _as_chat(said: object) -> object:
        """Return an event as a chunk of a chat completion."""
        return said

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": messages_of(prompt),
            "stream": True,
            **({"stream_options": {"include_usage": True}} if self._asks_for_usage else {}),
            **parameters_of(prompt, limit_name=self._limit_name),
        }

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the client's errors into the kit's; the endpoint's own words stay out, they may quote the prompt."""
        try:
            yield
        except TimeoutError as error:
            raise self._unavailable(what="does not answer in time", kind=DependencyTimedOut) from error
        except ConnectionFailed as error:
            raise self._unavailable(what="cannot be reached") from error
        except Refused as error:
            raise self._refusal(error) from error
        except NotHandedOnError as error:
            raise self._unavailable(what=f"answers with {error}, which are not handed on,") from error
        except ErrorEvent as error:
            if error.said.too_long:
                raise PromptTooLong from error
            if error.said.busy:
                raise self._busy(DEFAULT_PAUSE_S) from error
            raise self._unavailable(what="answers nonsense") from error
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # Whatever an answer is stumbled over is the endpoint's nonsense.
            raise self._unavailable(what="answers nonsense") from error

    def _refusal(self, error: Refused) -> TidemillError:
        """Return what a status means; of the endpoint's words only the name of a parameter that was sent."""
        match error.status:
            case 401 | 403:
                message = f"{self._host} refuses the key for model {self._model}: check the secret"
                return PreconditionFailed(message, model=self._model)
            case 404:
                message = f"{self._host} has no model {self._model}: check its name and the base_url"
                return PreconditionFailed(message, model=self._model)
            case status if status in _BUSY or (status == _BUSY_IF_IT_SAYS_WHEN and "retry-after" in error.headers):
                return self._busy(pause_s(error.headers))
            case 413:
                return PromptTooLong()
            case status if status in _REFUSED:
                said = Said.of_body(error.body)
                return PromptTooLong() if said.too_long else self._not_accepted(status, said)
            case status:
                return self._unavailable(what=f"fails with HTTP status {status}")

    def _not_accepted(self, status: int, said: Said) -> InvalidInput:
        code, named = said.code if isinstance(said.code, str) else status, said.parameter
        if named in CAPABILITIES and said.unsupported:
            return CapabilityMissing(CAPABILITIES[named], model=f"{self._model} of {self._host}")
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
