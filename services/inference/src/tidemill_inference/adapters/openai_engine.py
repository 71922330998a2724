"""A model behind any OpenAI-compatible endpoint, by OpenAI's own client."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import structlog
from openai import AsyncOpenAI
from pydantic import SecretStr

from tidemill_inference.application.ports import Finish, Piece, RemoteModel
from tidemill_inference.domain.content import Message
from tidemill_inference.domain.deployment import Sampling
from tidemill_kit.errors import DependencyUnavailable, InvalidInput, PreconditionFailed

MAX_ANSWER_CHARACTERS = 1024 * 1024
_REASONS = frozenset({"stop", "length", "content_filter"})
_HEADERS = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"}
)
"""What is sent beside the key; the client adds others of the environment, which may be secrets."""
_log = structlog.get_logger(__name__)
_NO_KEY = "none"  # an empty one would make the client take OPENAI_API_KEY and send that to whoever is there


class OpenAiEngine:
    """Implements `application.ports.Engine`. The endpoint knows its tokens and its limits; this side does not."""

    context_tokens = None

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        model: RemoteModel,
        *,
        key: SecretStr | None,
        transport: httpx2.AsyncBaseTransport,
        stall_s: float,
        retries: int,
        frank: bool = False,
    ) -> None:
        """`stall_s` is the longest silence that is waited through, before the first token or between two.

        `frank` tells a caller in which way an endpoint fails; else only the log does, so that nobody learns by asking
        what answers where.
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
            max_retries=retries,
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
        self.fingerprint = f"openai {openai.__version__} {self._host}"

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()

    async def count_tokens(self, messages: Sequence[Message]) -> None:
        """See `Engine.count_tokens`: the endpoint counts."""

    async def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, timeout_s: float
    ) -> AsyncGenerator[Piece | Finish, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        with self._translated():
            async with asyncio.timeout(timeout_s):
                stream = await self._client.chat.completions.create(**self._request(messages, sampling))
        reason, usage, length = "", None, 0
        try:
            chunks = aiter(stream)
            while (chunk := await self._next(chunks, deadline)) is not None:
                with self._translated():
                    text, ended = _read(chunk)
                usage, reason = getattr(chunk, "usage", None) or usage, ended or reason
                if text:
                    length += len(text)
                    yield Piece(text=text)
                if length > MAX_ANSWER_CHARACTERS:
                    raise self._unavailable(what="does not stop answering")
        finally:
            await stream.close()
        if not reason:
            raise self._unavailable(what="broke its answer off, or answered nonsense")
        yield Finish(
            reason=reason if reason in _REASONS else "stop",
            input_tokens=_count(usage, "prompt_tokens"),
            output_tokens=_count(usage, "completion_tokens"),
        )

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        # OpenAI itself has given the limit a new name, which other servers do not all know.
        limit = "max_completion_tokens" if self._host.endswith("openai.com") else "max_tokens"
        wanted = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            limit: sampling.max_output_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        return {
            "model": self._model,
            "messages": [{"role": message.role.value, "content": message.text} for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in wanted.items() if value is not None},
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
            raise self._unavailable(what="does not answer in time") from error
        except openai.APIConnectionError as error:
            raise self._unavailable(what="cannot be reached") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            message = f"{self._host} refuses the key for model {self._model}: check the secret"
            raise PreconditionFailed(message, model=self._model) from error
        except openai.NotFoundError as error:
            message = f"{self._host} has no model {self._model}: check its name and the base_url"
            raise PreconditionFailed(message, model=self._model) from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            code = error.code if isinstance(error.code, str) else error.status_code
            message = f"{self._host} does not take this request for model {self._model} ({code})"
            raise InvalidInput(message, model=self._model, code=code) from error
        except openai.APIStatusError as error:
            raise self._unavailable(what=f"fails with HTTP status {error.status_code}") from error
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
            # Whatever the client stumbles over in an answer is the endpoint's nonsense.
            raise self._unavailable(what="answers nonsense") from error

    def _unavailable(self, what: str) -> DependencyUnavailable:
        if not self._frank:
            _log.warning("remote_model_failed", host=self._host, model=self._model, why=what)
            what = "gives no usable answer (check its base_url; the log of inference says more)"
        message = f"{self._host} {what} for model {self._model}"
        return DependencyUnavailable(message, dependency=self._host, model=self._model)


def _read(chunk: Any) -> tuple[str, str]:  # noqa: ANN401 - what a server sends need not fit
    """Return the text of a chunk, and why the answer ended, "" where it goes on."""
    choice = next(iter(chunk.choices or ()), None)
    if choice is None:
        return "", ""
    text = choice.delta.content if choice.delta else ""
    if not isinstance(text, str | None) or not isinstance(choice.finish_reason, str | None):
        raise TypeError(type(text))
    return text or "", choice.finish_reason or ""


def _count(usage: Any, name: str) -> int:  # noqa: ANN401 - what a server sends need not fit
    value = getattr(usage, name, 0)
    return value if isinstance(value, int) and value > 0 else 0
