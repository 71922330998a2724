"""A model on this machine's disk, run by transformers with continuous batching.

A request joins the running batch at the next step and leaves it when it ends or is cancelled. The batch runs in a
thread and passes each token to the event loop.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from math import ceil
from typing import Any

import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.requests import GenerationOutput

from tidemill_core.errors import Blame, DependencyUnavailable, Internal, InvalidInput, Violation
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.chat_prompts import ChatPrompts, ChatRunner
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.local import (
    call_reader,
    capabilities_of,
    check_logit_bias,
    checked_grammar,
    output_tokens_of,
)
from tidemill_inference.engines.ports import Generated, Prompt
from tidemill_inference.engines.transformers import attention as rowwise_attention
from tidemill_inference.engines.transformers.candidates import Candidate, ModelTokens
from tidemill_inference.engines.transformers.lora import FINGERPRINT, LoraAdapter
from tidemill_inference.engines.transformers.sampling import per_request_processors
from tidemill_inference.engines.transformers.token_rules import rules_of
from tidemill_inference.engines.transformers.weights import ModelWeights, weight_bytes
from tidemill_kit.models.freed_memory import return_zeros
from tidemill_kit.workers.fair_share import Turns

_PAGE_TOKENS = 32
_STOP_TIMEOUT_S = 10.0
_ENDED = "the engine has stopped"
_COMPILING = Turns(4)
"""Of the threads of this process, for grammars: each takes a part of a second."""
_CANDIDATES_APART = 7_368_787
"""Between the seeds of two candidates."""


class TransformersEngine:
    """A `ports.Engine` that projects share: each call names its own. Blocks while it is made: make it in a thread."""

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
        self._run_chat = run_chat
        self._max_candidates = limits.candidates
        self._model = weights.tree()
        if adapter is not None:
            adapter.put_into(self._model, dtype=weights.dtype)
        self._manager = self._batching(limits)
        config = self._model.config.get_text_config()
        self.context_tokens: int = min(config.max_position_embeddings, limits.cache_tokens)
        self.fingerprint = f"transformers {transformers.__version__} {str(weights.dtype).removeprefix('torch.')}"
        if weights.quantized:
            self.fingerprint += " int8"
        if adapter is not None:
            self.fingerprint += f" {FINGERPRINT}"
        self._tokens = ModelTokens(weights.tokenizer, weights.vocabulary(self._ends), self._ends)
        self.capabilities = capabilities_of(self._prompts.tools, readable=self._tokens.vocabulary.readable)
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

    async def aclose(self) -> None:
        """End it as `close` does, in a thread."""
        await asyncio.to_thread(self.close)

    @property
    def alive(self) -> bool:
        """False once the engine's thread has died."""
        return self._manager.is_running()

    @property
    def serving(self) -> bool:
        """True: the next request makes another one if the thread has died."""
        return True

    async def count_tokens(self, project: str, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        return await self._prompts.count(project, prompt)

    async def generate(self, project: str, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        given = await self._prompts.encode(project, prompt)
        at_most = output_tokens_of(
            prompt.sampling, prompt_tokens=len(given), context_tokens=self.context_tokens, name=self._name
        )
        waiting = await self._candidates(project, prompt, prompt_tokens=len(given))
        add, outputs = self._adding(given, prompt.sampling, at_most=at_most), _Outputs()
        running: dict[str, Candidate] = {}
        try:
            while running or waiting:
                # Others wait for the first one's token: by then the prompt is in the cache that they share.
                for candidate in waiting[:1] if not running else waiting:
                    running[candidate.request_id] = candidate
                    self._manager.register_result_handler(candidate.request_id, outputs.put)
                    add(candidate)
                waiting = [candidate for candidate in waiting if candidate.request_id not in running]
                for output in await self._next(outputs, deadline):
                    if (one := running.get(output.request_id)) is None:
                        continue  # it has ended, and the batch did not know yet
                    for piece in one.take(output):
                        yield piece
                    if one.ended:
                        del running[one.request_id]
                        self._forget(one.request_id)
        finally:
            for request_id in running:
                self._forget(request_id)

    async def _candidates(self, project: str, prompt: Prompt, *, prompt_tokens: int) -> list[Candidate]:
        """Return what reads the tokens of each candidate, with the rules by which they are chosen."""
        sampling, tools = prompt.sampling, self._prompts.tools
        if prompt.candidates > self._max_candidates:
            text = f"is {prompt.candidates}; use 1 to {self._max_candidates} for {self._name}"
            raise InvalidInput.of(Violation("candidate_count", text))
        check_logit_bias(sampling, vocabulary=self._model.config.get_text_config().vocab_size, name=self._name)
        guide = None
        if (grammar := await checked_grammar(project, prompt, tools, self._run_chat)) is not None:
            guide = await _COMPILING.in_thread(project, partial(self._tokens.vocabulary.guide, grammar))
        if sampling.logprobs:
            await asyncio.to_thread(self._tokens.vocabulary.load)
        return [
            Candidate(
                number,
                self._tokens,
                prompt_tokens=prompt_tokens,
                stop=sampling.stop,
                rules=rules_of(sampling, guide.fork() if guide and number else guide),
                calls=call_reader(prompt, tools),
            )
            for number in range(prompt.candidates)
        ]

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

    def _adding(self, prompt: list[int], sampling: Sampling, *, at_most: int) -> Callable[[Candidate], None]:
        how = sampling.over(self._defaults)
        temperature, top_p = float(how.temperature or 0.0), float(how.top_p or 1.0)
        seed = secrets.randbits(62) if how.seed is None else abs(how.seed)

        def add(candidate: Candidate) -> None:
            drawn: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
            drawn["seed"] = seed + candidate.number * _CANDIDATES_APART
            if candidate.rules is not None:
                drawn["rules"] = candidate.rules
            added = self._manager.add_request(
                prompt, request_id=candidate.request_id, max_new_tokens=at_most, streaming=True, **drawn
            )
            if added is None:
                raise DependencyUnavailable(_ENDED, dependency=self._name, blame=Blame.VARIANT)

        return add

    async def _next(self, outputs: "_Outputs", deadline: float) -> Sequence[GenerationOutput]:
        async with asyncio.timeout(deadline - time.monotonic()):
            newest = await outputs.next()
        if any(output.error for output in newest):
            if not self.alive:
                raise DependencyUnavailable(_ENDED, dependency=self._name, blame=Blame.VARIANT)
            message = f"model {self._name} failed with an internal error: see inference's log"
            raise Internal(message, model=self._name)
        return newest

    def _forget(self, request_id: str) -> None:
        """Take a request out of the batch, at the next step, wherever it stands."""
        self._manager.cancel_request(request_id)
        router = self._manager.output_router
        router.result_handlers.pop(request_id, None)
        # Drops what the running step still returns for cancelled requests.
        while not router.output_queue.empty():
            self._manager.get_result(timeout=0)


class _Outputs:
    """The newest output of each request: each holds all tokens so far, so that a slow reader misses nothing."""

    def __init__(self) -> None:
        self._newest: dict[str, GenerationOutput] = {}
        self._changed = asyncio.Event()

    def put(self, output: GenerationOutput) -> None:
        """Take an output; called on the event loop."""
        self._newest[output.request_id] = output
        self._changed.set()

    async def next(self) -> Sequence[GenerationOutput]:
        """Return the newest outputs that were not returned yet, once there is one."""
        await self._changed.wait()
        self._changed.clear()
        newest, self._newest = self._newest, {}
        return list(newest.values())


def _attends_to_everything(config: Any) -> bool:  # noqa: ANN401 - a transformers config
    """Whether all layers have full attention: rowwise attention does not support sliding windows."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return set(kinds) == {"full_attention"}
    return not getattr(config, "sliding_window", None)
