"""What a model call looks like from outside: a span by OpenTelemetry's GenAI conventions, and metrics; never a text."""

import time
from collections import Counter as Counts
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import Counter, Gauge, Histogram

from tidemill_core.errors import isolated
from tidemill_inference.budgets.domain.metering import HERE, metered
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import (
    Capability,
    Engine,
    Finish,
    Generated,
    Identified,
    Piece,
    Prompt,
    identifies_nothing,
)

FIRST_TOKEN_SECONDS = Histogram(
    "tidemill_model_first_token_seconds",
    "Time from a request to the model to its first text.",
    ["project", "model"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
)
TOKENS = Counter("tidemill_model_tokens", "Tokens read (input) and made (output).", ["project", "model", "kind"])
CALLS = Counter("tidemill_model_calls", "Calls of a model by how they ended.", ["project", "model", "outcome"])
RUNNING = Gauge("tidemill_model_running", "Calls of a model in progress.", ["project", "model"])

MAX_MODELS = 200
"""Models of projects that series are kept for; of the project with the most, the one called longest ago is dropped."""

_TRACER = trace.get_tracer("tidemill.inference")


class _Series:
    """The series of a bounded number of models: a long-running process serves any number of versions."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._running: dict[tuple[str, str], int] = {}

    def begin(self, key: tuple[str, str]) -> None:
        """Note a call, and drop what is too much."""
        self._known.setdefault(key, set())
        self._known.move_to_end(key)
        self._running[key] = self._running.get(key, 0) + 1
        RUNNING.labels(*key).inc()
        while len(self._known) > MAX_MODELS and (idle := [each for each in self._known if not self._running[each]]):
            models = Counts(project for project, _ in self._known)
            self._drop(max(idle, key=lambda each: models[each[0]]))

    def end(self, key: tuple[str, str], outcome: str) -> None:
        """Note the end of a call."""
        self._running[key] -= 1
        self._known[key].add(outcome)
        RUNNING.labels(*key).dec()
        CALLS.labels(*key, outcome).inc()

    def _drop(self, key: tuple[str, str]) -> None:
        for outcome in self._known.pop(key):
            CALLS.remove(*key, outcome)
        del self._running[key]
        RUNNING.remove(*key)
        for metric, labels in ((FIRST_TOKEN_SECONDS, key), (TOKENS, (*key, "input")), (TOKENS, (*key, "output"))):
            with suppress(KeyError):  # a call that failed has none
                metric.remove(*labels)


_SERIES = _Series()


class ObservedEngine:
    """Implements `ports.Engine` by another one."""

    def __init__(
        self, engine: Engine, *, project: str, model: str, identified: Identified = identifies_nothing
    ) -> None:
        """`identified` is called with what a provider's answers say of themselves."""
        self._engine = engine
        self._identified = identified
        self._model = model
        self._remote = engine.fingerprint.startswith("openai ")
        self._machine = f"{project}/{model}" if self._remote else HERE
        self._key = project, model

    @property
    def fingerprint(self) -> str:
        """See `Engine.fingerprint`."""
        return self._engine.fingerprint

    @property
    def context_tokens(self) -> int | None:
        """See `Engine.context_tokens`."""
        return self._engine.context_tokens

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Engine.capabilities`."""
        return self._engine.capabilities

    async def count_tokens(self, prompt: Prompt) -> int | None:
        """See `Engine.count_tokens`."""
        return await self._engine.count_tokens(prompt)

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        began, first, outcome = time.perf_counter(), True, "left"
        # Never the current span: a generator may be closed in another context than it was begun in.
        span = _TRACER.start_span(f"chat {self._model}", kind=SpanKind.CLIENT, attributes=self._asked(prompt.sampling))
        _SERIES.begin(self._key)
        finishes: list[Finish] = []
        try:
            with isolated(), metered(self._model, self._machine, by_provider=self._remote) as attempt:
                async with aclosing(self._engine.generate(prompt, timeout_s=timeout_s)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Finish):
                            outcome = piece.reason
                            finishes.append(piece)
                            attempt.finish(piece.input_tokens, piece.output_tokens, piece.cached_input_tokens)
                        elif isinstance(piece, Piece):
                            attempt.piece(piece.text, piece.reasoning)
                        else:
                            attempt.piece(piece.name, piece.arguments)
                        if first and not isinstance(piece, Finish):
                            first = False
                            FIRST_TOKEN_SECONDS.labels(*self._key).observe(time.perf_counter() - began)
                        yield piece
            self._finished(finishes, span)
        except Exception as error:
            outcome = type(error).__name__
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", outcome)
            raise
        finally:
            _SERIES.end(self._key, outcome)
            span.end()

    def _asked(self, sampling: Sampling) -> dict[str, str | int | float]:
        known = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._engine.fingerprint.partition(" ")[0],
            "gen_ai.request.model": self._model,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.max_tokens": sampling.max_output_tokens,
            "gen_ai.request.seed": sampling.seed,
        }
        return {name: value for name, value in known.items() if value is not None}

    def _finished(self, finishes: Sequence[Finish], span: Span) -> None:
        input_tokens = max((each.input_tokens for each in finishes), default=0)
        output_tokens = sum(each.output_tokens for each in finishes)
        TOKENS.labels(*self._key, "input").inc(input_tokens)
        TOKENS.labels(*self._key, "output").inc(output_tokens)
        if self._remote and finishes and (identity := finishes[-1].identity):
            self._identified(*self._key, identity)
        span.set_attributes(
            {
                "gen_ai.response.finish_reasons": tuple(each.reason for each in finishes),
                "gen_ai.usage.input_tokens": input_tokens,
                "gen_ai.usage.output_tokens": output_tokens,
            }
        )
