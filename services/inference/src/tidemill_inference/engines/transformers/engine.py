"""A model on this machine's disk, run by transformers with continuous batching.

A request joins the running batch at the next step and leaves it when it ends or is cancelled. The batch runs in a
thread and passes each token to the event loop.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from math import ceil
from typing import Any

import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.requests import GenerationOutput

from tidemill_core.errors import Blame, DependencyUnavailable, Internal, InvalidInput
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.chat_prompts import ChatPrompts, ChatRunner
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.ports import Capability, Finish, Generated, Piece, Prompt
from tidemill_inference.engines.text_stream import TextStream
from tidemill_inference.engines.transformers import attention as rowwise_attention
from tidemill_inference.engines.transformers.lora import FINGERPRINT, LoraAdapter
from tidemill_inference.engines.transformers.sampling import per_request_processors
from tidemill_inference.engines.transformers.weights import ModelWeights, weight_bytes
from tidemill_kit.models.freed_memory import return_zeros

DEFAULT_OUTPUT_TOKENS = 512
_PAGE_TOKENS = 32
_STOP_TIMEOUT_S = 10.0
_ENDED = "the engine has stopped"


class TransformersEngine:
    """A `ports.Engine` that projects share: each call names its own. Blocks while it is made: make it in a thread."""

    capabilities: frozenset[Capability] = frozenset()

    def __init__(
        self,
        weights: ModelWeights,
        *,
        name: str,
        limits: EngineLimits,
        run_chat: ChatRunner,
        adapter: LoraAdapter | None = None,
    ) -> None:
        """Build modules over the weights, and put the adapter into them where there is one."""
        self._name = name
        self._tokenizer = weights.tokenizer
        self._prompts = ChatPrompts(weights.tokenizer, name=name, run=run_chat)
        self._model = weights.tree()
        if adapter is not None:
            adapter.put_into(self._model, dtype=weights.dtype)
        self._manager = self._batching(limits)
        config = self._model.config.get_text_config()
        self.context_tokens: int = min(config.max_position_embeddings, limits.cache_tokens)
        self.fingerprint = f"transformers {transformers.__version__} {str(weights.dtype).removeprefix('torch.')}"
        if adapter is not None:
            self.fingerprint += f" {FINGERPRINT}"
        self.adapter_bytes = weight_bytes(self._model) - weights.bytes
        """What it takes beside the weights that it shares, and its cache."""

    def start(self, threads: SharedThreads | None = None) -> None:
        """Begin to take requests, and compute with a share of these threads; None leaves that to torch."""
        step = self._manager._generation_step  # noqa: SLF001 - what its thread computes in, and nothing else

        def shared() -> None:
            with threads.share() if threads else nullcontext():
                step()

        self._manager._generation_step = shared  # type: ignore[method-assign] # noqa: SLF001 - ditto
        create = self._manager._create_batch_processor  # noqa: SLF001 - the cache is made there, and written with zeros

        def created() -> ContinuousBatchProcessor:
            is_new = self._manager.batch_processor is None
            processor = create()
            cache = processor.cache.cache_tensor
            if is_new and cache.device.type == "cpu":
                return_zeros(cache.data_ptr(), cache.nbytes)
            return processor

        self._manager._create_batch_processor = created  # type: ignore[method-assign] # noqa: SLF001 - ditto
        self._manager.start()

    def close(self) -> None:
        """End the engine's thread; requests under way fail. Blocks for a step."""
        self._prompts.close()
        self._manager.stop(block=True, timeout=_STOP_TIMEOUT_S, hard_stop=True)

    @property
    def alive(self) -> bool:
        """False once the engine's thread has died."""
        return self._manager.is_running()

    async def count_tokens(self, project: str, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        return await self._prompts.count(project, prompt.messages)

    async def generate(self, project: str, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        sampling, given = prompt.sampling, await self._prompts.encode(project, prompt.messages)
        tokens_left = self.context_tokens - len(given)
        if tokens_left <= 0:
            message = f"the prompt has {len(given)} tokens; the context of {self._name} has {self.context_tokens}"
            raise InvalidInput(message, tokens=len(given), limit=self.context_tokens)
        text = TextStream(self._tokenizer.backend_tokenizer, stop=sampling.stop)
        outputs, request_id = _Outputs(), uuid.uuid4().hex
        tokens: list[int] = []
        self._manager.register_result_handler(request_id, outputs.put)
        try:
            self._add(
                request_id,
                given,
                sampling,
                at_most=min(sampling.max_output_tokens or DEFAULT_OUTPUT_TOKENS, tokens_left),
            )
            while not (outputs.ended or text.stopped):
                output = await self._next(outputs, deadline)
                fresh, tokens = output.generated_tokens[len(tokens) :], output.generated_tokens
                if piece := text.feed(fresh):
                    yield Piece(text=piece)
        finally:
            self._forget(request_id)
        if not text.stopped and (rest := text.end()):
            yield Piece(text=rest)
        ended_itself = text.stopped or tokens[-1] in self._ends
        yield Finish(reason="stop" if ended_itself else "length", input_tokens=len(given), output_tokens=len(tokens))

    def _batching(self, limits: EngineLimits) -> ContinuousBatchingManager:
        defaults = self._model.generation_config
        ends = defaults.eos_token_id if isinstance(defaults.eos_token_id, list) else [defaults.eos_token_id]
        self._ends = {end for end in (*ends, self._tokenizer.eos_token_id) if end is not None}
        self._defaults = Sampling(
            temperature=(defaults.temperature or 1.0) if defaults.do_sample else 0.0, top_p=defaults.top_p or 1.0
        )
        batching = ContinuousBatchingConfig(
            page_size=_PAGE_TOKENS,
            num_blocks=ceil(limits.cache_tokens / _PAGE_TOKENS),
            max_batch_tokens=limits.step_tokens,
            max_requests_per_batch=limits.batch,
            use_async_batching=False,
            auto_switch_to_flash=False,
        )
        # Its own sampling is off: RequestSampling draws for each request, and the arg max of that is the token.
        greedy = GenerationConfig(do_sample=False, eos_token_id=sorted(self._ends) or -1)
        manager: ContinuousBatchingManager = self._model.init_continuous_batching(
            generation_config=greedy, continuous_batching_config=batching
        )
        manager.logit_processor = per_request_processors()
        if _attends_to_everything(self._model.config.get_text_config()):
            self._model.set_attn_implementation(rowwise_attention.NAME)
        return manager

    def _add(self, request_id: str, prompt: list[int], sampling: Sampling, *, at_most: int) -> None:
        how = sampling.over(self._defaults)
        seed = secrets.randbits(62) if how.seed is None else abs(how.seed)
        added = self._manager.add_request(
            prompt,
            request_id=request_id,
            max_new_tokens=at_most,
            streaming=True,
            temperature=float(how.temperature or 0.0),
            top_p=float(how.top_p or 1.0),
            seed=seed,
        )
        if added is None:
            raise DependencyUnavailable(_ENDED, dependency=self._name, blame=Blame.VARIANT)

    async def _next(self, outputs: "_Outputs", deadline: float) -> GenerationOutput:
        async with asyncio.timeout(deadline - time.monotonic()):
            output = await outputs.next()
        if output.error:
            if not self.alive:
                raise DependencyUnavailable(_ENDED, dependency=self._name, blame=Blame.VARIANT)
            message = f"model {self._name} failed with an internal error: see inference's log"
            raise Internal(message, model=self._name)
        return output

    def _forget(self, request_id: str) -> None:
        """Take a request out of the batch, at the next step, wherever it stands."""
        self._manager.cancel_request(request_id)
        router = self._manager.output_router
        router.result_handlers.pop(request_id, None)
        # Drops what the running step still returns for cancelled requests.
        while not router.output_queue.empty():
            self._manager.get_result(timeout=0)


class _Outputs:
    """The newest output of a request: each holds all tokens so far, so that a slow reader misses nothing."""

    def __init__(self) -> None:
        self._newest: GenerationOutput | None = None
        self._changed = asyncio.Event()
        self.ended = False

    def put(self, output: GenerationOutput) -> None:
        """Take an output; called on the event loop."""
        self._newest = output
        self._changed.set()

    async def next(self) -> GenerationOutput:
        """Return the newest output, once there is one that was not returned yet."""
        await self._changed.wait()
        self._changed.clear()
        assert self._newest is not None  # noqa: S101 - the event says so
        self.ended = self._newest.is_finished()
        return self._newest


def _attends_to_everything(config: Any) -> bool:  # noqa: ANN401 - a transformers config
    """Whether all layers have full attention: rowwise attention does not support sliding windows."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return set(kinds) == {"full_attention"}
    return not getattr(config, "sliding_window", None)
