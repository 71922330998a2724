"""Make one answer, step by step: retrieve, render and generate, cite."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from tidemill_core.application import Caller
from tidemill_inference.caching.domain.policy import CachePolicy
from tidemill_inference.caching.ports import Asked, Reused, Reusing
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.engines.ports import Engines, Models
from tidemill_inference.examples.ports import ChoosingExamples
from tidemill_inference.generation.citations.citations import DEFAULT_CHARACTERS, DEFAULT_THRESHOLD
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.inference import Answer, Inference
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.ports import Found, Retriever
from tidemill_inference.generation.shared import Generation
from tidemill_inference.generation.steps.choose import Choose
from tidemill_inference.generation.steps.cite import Cite
from tidemill_inference.generation.steps.context import Context
from tidemill_inference.generation.steps.generate import Generate
from tidemill_inference.generation.steps.render import Render
from tidemill_inference.generation.steps.retrieve import Retrieve
from tidemill_inference.generation.steps.rewrite import Rewrite
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import Templates
from tidemill_inference.routing.domain.policy import Routing
from tidemill_inference.routing.ports import Router
from tidemill_kit.workers.fair_share import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateAnswer:
    """Sends the variant to `generation`, then the text, and returns the whole answer.

    A failed search fails the call: without passages there is no grounded answer.
    """

    templates: Templates
    models: Models
    router: Router
    retriever: Retriever
    engines: Engines
    rewrite: Rewrite | None = None
    reusing: Reusing | None = None
    choosing: ChoosingExamples | None = None
    threshold: float = DEFAULT_THRESHOLD
    cited_characters: int = DEFAULT_CHARACTERS
    citation_turns: Turns = field(default_factory=lambda: Turns(4))
    record_after_s: float = 0.25
    """How long a kept answer is searched for until the question of an end user is recorded meanwhile."""

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
        routing: Routing,
        cache: CachePolicy | None,
        begin: Callable[[], Awaitable[None]],
    ) -> Answer:
        """Return the whole answer; `started` and `deadline` are on time.monotonic().

        `begin` is awaited before a model is asked. Of an end user's question it is called while a kept answer is
        searched for, where that takes longer than `record_after_s`: erasing the person has to find what waits for
        others. What is found sooner is recorded with its answer, by one write in place of two.

        Raises:
            PromptTooLong: the messages do not fit the model.
            RateLimited: the model takes no more at the moment.
            DependencyUnavailable: rag, the trainer or every model failed, or did not answer in time.
            DeadlineExceeded: the answer was not complete in time.

        """
        context = Context(
            caller=caller,
            inference=inference,
            question=question,
            step=configuration.answer,
            content=content,
            generation=generation,
            started=started,
            deadline=deadline,
            warnings=list(question.notes),
            routing=routing,
        )
        search = _Gather(search=Retrieve(retriever=self.retriever, rewrite=self.rewrite), choose=Choose(self.choosing))
        steps = (
            Generate(router=self.router, engines=self.engines, render=Render(templates=self.templates)),
            Cite(threshold=self.threshold, max_characters=self.cited_characters, turns=self.citation_turns),
        )
        try:
            async with asyncio.timeout(context.remaining_s()):
                async with _beside(begin if cache and question.end_user else None, after_s=self.record_after_s):
                    await search(context)
                    reused = await self._reused(context, cache, search, configuration.digest) if cache else None
                if reused:
                    return context.again(reused)
                generation.waiting_for = "mongodb"
                await begin()
                for step in steps:
                    await step(context)
                return context.answer()
        except TimeoutError as error:
            raise generation.late() from error

    async def _reused(
        self, context: Context, cache: CachePolicy, search: "_Gather", configuration: str
    ) -> Reused | None:
        """Return an answer that was given to an equal question, where there is one."""
        if self.reusing is None:
            return None
        asked = Asked(
            inference=context.inference,
            question=context.question,
            configuration=configuration,
            index=context.found.index,
            passages=context.found.passages,
            examples=context.found.examples,
            examples_known=context.found.examples_known,
            search=partial(_search_again, search, context),
        )
        context.generation.waiting_for = "the answer to an equal question"
        return await self.reusing.find(context.caller, cache, asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gather:
    """What is gathered for a question before a model is asked: its passages, then its examples."""

    search: Retrieve
    choose: Choose

    async def __call__(self, context: Context) -> None:
        await self.search(context)
        await self.choose(context)


@asynccontextmanager
async def _beside(work: Callable[[], Awaitable[None]] | None, *, after_s: float) -> AsyncIterator[None]:
    """Do the work at the same time as a block that takes longer than `after_s`, and not at all beside another one.

    Both have ended after it, and an error of the block ends the work.
    """
    if work is None:
        yield
        return
    doing: list[asyncio.Future[None]] = []
    due = asyncio.get_running_loop().call_later(after_s, lambda: doing.append(asyncio.ensure_future(work())))
    try:
        yield
        for each in doing:
            await each
    finally:
        due.cancel()
        for each in doing:
            each.cancel()
            await asyncio.wait({each})
            if not each.cancelled():
                each.exception()  # the block's own error is raised


async def _search_again(search: _Gather, context: Context, messages: tuple[Message, ...]) -> Found:
    """Search as for a question, with other messages."""
    other = replace(context, question=replace(context.question, messages=messages), warnings=[])
    await search(other)
    return other.found
