"""Make one answer: search, prompt, engine, citations."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller
from tidemill_core.errors import (
    Blame,
    DependencyTimedOut,
    DependencyUnavailable,
    Internal,
    PreconditionFailed,
    RateLimited,
)
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.engines.ports import Engine, Engines, Finish, Models
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.citations.citations import DEFAULT_CHARACTERS, DEFAULT_THRESHOLD, Grounding, ground
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import Answer, Inference, Purpose, Question, Usage, Variant
from tidemill_inference.generation.ports import Found, Retriever
from tidemill_inference.generation.shared import Generation
from tidemill_inference.generation.steps.render import conversation
from tidemill_inference.generation.steps.retrieve import FindPassages
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import Templates
from tidemill_kit.workers.fair_share import Turns

DEFAULT_OUTPUT_TOKENS = 512
_ENGINE_FAILURES = (DependencyUnavailable, Internal, PreconditionFailed, PromptTooLong, RateLimited)
"""What another model may do better; what else is wrong with the question is wrong for all of them."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One answer on its way."""

    caller: Caller
    inference: Inference
    question: Question
    configuration: Configuration
    content: PromptContent
    generation: Generation
    started: float
    deadline: float
    found: Found = field(default_factory=lambda: Found(passages=(), index=0))
    search_s: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def remaining_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompt:
    """The messages for the engine, and the passages that fitted."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateAnswer:
    """Sends the variant to `generation`, then the text, and returns the whole answer.

    A failed search fails the call: without passages there is no grounded answer. A model that fails before its first
    token, or exceeds its share of the time for it, is replaced by the deployment's next one. The variant is sent with
    the first token, so that a failure before it is only an error.
    """

    templates: Templates
    models: Models
    retriever: Retriever
    engines: Engines
    threshold: float = DEFAULT_THRESHOLD
    cited_characters: int = DEFAULT_CHARACTERS
    citation_turns: Turns = field(default_factory=lambda: Turns(4))

    async def __call__(  # noqa: PLR0913 - everything that one answer is made of
        self,
        caller: Caller,
        inference: Inference,
        question: Question,
        configuration: Configuration,
        *,
        content: PromptContent,
        generation: Generation,
        started: float,
        deadline: float,
    ) -> Answer:
        """Return the whole answer; `started` and `deadline` are on time.monotonic().

        Raises:
            PromptTooLong: the messages do not fit the model.
            RateLimited: the model takes no more at the moment.
            DependencyUnavailable: rag, the trainer or every model failed, or did not answer in time.
            DeadlineExceeded: the answer was not complete in time.

        """
        run = _Run(
            caller=caller,
            inference=inference,
            question=question,
            configuration=configuration,
            content=content,
            generation=generation,
            started=started,
            deadline=deadline,
            warnings=list(question.notes),
        )
        try:
            async with asyncio.timeout(run.remaining_s()):
                await self._search(run)
                return await self._first_that_answers(run)
        except TimeoutError as error:
            raise generation.late() from error

    async def _search(self, run: _Run) -> None:
        retrieval = run.configuration.retrieval
        if run.question.passages is not None:
            run.found = Found(passages=run.question.passages, index=0)
            return
        if retrieval is None:
            return
        run.generation.waiting_for = "rag"
        began = time.monotonic()
        find = FindPassages(retriever=self.retriever)
        run.found, warnings = await find(run.caller, retrieval, run.question, deadline=run.deadline)
        run.warnings += warnings
        run.search_s = time.monotonic() - began

    async def _first_that_answers(self, run: _Run) -> Answer:
        fallback = run.configuration.fallback if run.question.purpose is Purpose.LIVE else ()
        models = (run.configuration.model, *fallback)  # a comparison is of the model itself
        for number, model in enumerate(models, start=1):
            run.generation.waiting_for, run.generation.blame = f"model {model}", Blame.VARIANT
            others = len(models) - number
            try:
                return await self._answered_within(run.remaining_s() / (others + 1) if others else None, model, run)
            except _ENGINE_FAILURES as error:
                if run.generation.text or not others:
                    raise
                run.warnings.append(f"fallback used: {model} failed ({error.reason})")
        raise AssertionError  # there is always a model, and the last one answers or raises

    async def _answered_within(self, first_token_s: float | None, reference: str, run: _Run) -> Answer:
        """Return the answer of one model, which has so long for its first token.

        Raises:
            DependencyTimedOut: it took longer.

        """
        patience = asyncio.timeout(first_token_s)
        try:
            async with patience:
                return await self._answered_by(reference, run, patience)
        except TimeoutError as error:
            if patience.expired():
                message = f"model {reference} had no first token within {first_token_s:.3g} s"
                raise DependencyTimedOut(message, dependency=f"model {reference}", blame=Blame.VARIANT) from error
            raise

    async def _answered_by(self, reference: str, run: _Run, patience: asyncio.Timeout) -> Answer:
        async with self._engine(reference, run) as engine:
            prompt = await self._fitted(engine, run)
            variant = replace(
                _variant(run.inference), model=reference, index=run.found.index, engine=engine.fingerprint
            )
            started = replace(run.inference, variant=variant, passages=prompt.passages)
            first_token_s, finish = None, None
            sampling = run.question.sampling.over(run.configuration.sampling)
            async with aclosing(engine.generate(prompt.messages, sampling, timeout_s=run.remaining_s())) as pieces:
                async for piece in pieces:
                    if first_token_s is None:
                        patience.reschedule(None)
                        first_token_s = run.elapsed_s()
                        run.generation.waiting_for = ""
                        run.generation.start(started)
                    if isinstance(piece, Finish):
                        finish = piece
                    else:
                        run.generation.add(piece.text)
        if finish is None:
            message = f"model {reference} ended without saying why"
            raise Internal(message, model=reference)
        text = run.generation.text
        if not text.strip():
            run.warnings.append(f"model {reference} said nothing (finish reason {finish.reason})")
        # Of many clauses and many passages it takes a second of a thread.
        grounding = await self.citation_turns.in_thread(
            run.inference.project, lambda: self._grounded(text, prompt.passages, run)
        )
        part = Part(text=text, citations=grounding.citations)
        total_s = run.elapsed_s()
        return Answer(
            output=(Message(role=Role.ASSISTANT, parts=(part,)),),
            variant=variant,
            passages=prompt.passages,
            usage=Usage(
                input_tokens=finish.input_tokens,
                output_tokens=finish.output_tokens,
                first_token_s=total_s if first_token_s is None else first_token_s,
                total_s=total_s,
                search_s=run.search_s,
            ),
            finish_reason=finish.reason,
            warnings=tuple(run.warnings),
            citation_valid=grounding.valid,
        )

    def _grounded(self, text: str, passages: Sequence[Passage], run: _Run) -> Grounding:
        if passages and len(text) > self.cited_characters:
            run.warnings.append(f"citations end after {self.cited_characters} of {len(text)} characters")
        return ground(text, passages, threshold=self.threshold, max_characters=self.cited_characters)

    @asynccontextmanager
    async def _engine(self, reference: str, run: _Run) -> AsyncIterator[Engine]:
        model = await self.models.resolve(run.caller, reference, field="model")
        async with self.engines.use(run.inference.project, model) as engine:
            yield engine

    async def _fitted(self, engine: Engine, run: _Run) -> _Prompt:
        """Return the prompt with the passages that fit, the best first; one that is too long is left out.

        Raises:
            PromptTooLong: it does not fit without any.

        """
        offered = run.found.passages
        messages = await self._if_it_fits(engine, run, offered)
        if messages is not None:
            return _Prompt(messages=messages, passages=offered)
        kept: tuple[Passage, ...] = ()
        messages = await self._if_it_fits(engine, run, kept, required=True)
        for passage in offered if len(offered) > 1 else ():
            if (longer := await self._if_it_fits(engine, run, (*kept, passage))) is not None:
                kept, messages = (*kept, passage), longer
        if cut := len(offered) - len(kept):
            run.warnings.append(f"{cut} of {len(offered)} passages cut: they did not fit the model's context")
        assert messages is not None  # noqa: S101 - required
        return _Prompt(messages=messages, passages=kept)

    async def _if_it_fits(
        self, engine: Engine, run: _Run, passages: tuple[Passage, ...], *, required: bool = False
    ) -> tuple[Message, ...] | None:
        """Return the messages with these passages; None if they do not fit the context together with an answer."""
        requested = run.question.sampling.over(run.configuration.sampling).max_output_tokens
        messages, limit = await self._rendered(run, passages), engine.context_tokens
        if limit is None:
            return messages
        tokens, output_tokens = await engine.count_tokens(messages), min(requested or DEFAULT_OUTPUT_TOKENS, limit // 2)
        if tokens is None or tokens + output_tokens <= limit:
            return messages
        if required:
            raise PromptTooLong(tokens=tokens, limit=limit, output_tokens=output_tokens)
        return None

    async def _rendered(self, run: _Run, passages: Sequence[Passage]) -> tuple[Message, ...]:
        question = run.question
        return await conversation(
            self.templates,
            run.inference.project,
            run.content,
            messages=question.messages,
            variables=question.variables,
            passages=passages,
        )


def _variant(inference: Inference) -> Variant:
    assert inference.variant is not None  # noqa: S101 - it was reserved with one
    return inference.variant
