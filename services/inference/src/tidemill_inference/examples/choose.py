"""Choose the examples of a question; where that cannot be done yet, the answer goes without."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidemill_core.application import Caller, Clock, ResourceKey
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound, PreconditionFailed, TidemillError
from tidemill_inference.examples.domain.declared import MAX_COUNT, Examples, Selection
from tidemill_inference.examples.domain.errors import ExamplesUnusable, TooManyExampleSets
from tidemill_inference.examples.domain.example_set import (
    ChosenExample,
    Example,
    ExampleSet,
    SetState,
    set_id_of,
    start_of,
)
from tidemill_inference.examples.ports import Chosen, ExampleSets, Nearest, QuestionVectors, StoredExamples
from tidemill_inference.generation.domain.question import Purpose, Question

NOT_READY = "examples_not_ready"
NOT_CHOSEN = "examples_not_chosen"
_FETCHED = MAX_COUNT + 2
"""More than are shown: some may be for other readers, or gone. rag returns no more than 10."""
_USED_EVERY = timedelta(hours=1)
"""How precisely it is known when a set was used last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseExamples:
    """Asks rag for the nearest questions of a set, and reads those examples; a set that is not there is requested."""

    sets: ExampleSets
    examples: StoredExamples
    vectors: QuestionVectors
    clock: Clock
    enqueue: Callable[[ResourceKey], None]
    timeout_s: float
    """How long an answer waits for rag."""
    pause_s: float = 5.0
    """For how long rag is left alone by a project and model that it failed, so that not each of its answers waits."""
    max_sets: int = 20
    """Of a project."""
    _paused_until: dict[tuple[str, str], float] = field(default_factory=dict)
    """By project and embedding model: what is slow or gone of one takes no examples from others."""

    async def __call__(self, caller: Caller, declared: Examples, question: Question) -> Chosen:
        """Return the examples for a question, by resolved settings.

        Raises:
            DependencyUnavailable: of an evaluation, which measures nothing without them: they are not ready.
            ExamplesUnusable: ditto: they cannot be loaded.

        """
        try:
            found = await self._set(caller.project, declared)
            if found and found.state is SetState.READY:
                return Chosen(examples=await self._examples(caller, declared, found, question))
        except TidemillError as error:
            why = f"{NOT_CHOSEN}: the answer was given no examples of {declared.dataset} ({error.reason})"
            if question.purpose is Purpose.EVALUATION:
                raise DependencyUnavailable(why, dependency="examples") from error
            return Chosen(why_not=why)
        return _unready(declared, found, question)

    async def request(self, project: str, declared: Examples) -> None:
        """Have the set loaded, if it is not there yet.

        Raises:
            TooManyExampleSets: the project has as many as it may have.
            DependencyUnavailable: the store does not answer.

        """
        await self.check(project, declared)
        fresh = ExampleSet.of(project, declared, now=self.clock.now())
        await self.sets.add(fresh)
        self.enqueue(ResourceKey(project=project, id=fresh.id))

    async def check(self, project: str, declared: Examples) -> None:
        """Refuse a further set where the project has as many as it may have; raises as `request`."""
        known = await self.sets.get(project, set_id_of(project, declared))
        if known is None and await self.sets.count(project, limit=self.max_sets) >= self.max_sets:
            raise TooManyExampleSets(declared.dataset, limit=self.max_sets)

    async def _set(self, project: str, declared: Examples) -> ExampleSet | None:
        found = await self.sets.get(project, set_id_of(project, declared))
        if found is None:
            await self.request(project, declared)
        elif (now := self.clock.now()) - found.used_at > _USED_EVERY:
            await self.sets.use(project, found.id, now=now)
        return found

    async def _examples(
        self, caller: Caller, declared: Examples, found: ExampleSet, question: Question
    ) -> tuple[ChosenExample, ...]:
        principals, text = frozenset(question.principals), question.text
        if declared.by is Selection.SIMILARITY:
            return await self._nearest(caller, declared, found, text, principals)
        start = start_of(declared.seed, text)
        some = await self.examples.by_chance(found, principals=principals, start=start, limit=declared.count)
        return tuple(ChosenExample(example=each) for each in some if each.may_be_shown_to(principals))

    async def _nearest(
        self, caller: Caller, declared: Examples, found: ExampleSet, text: str, principals: frozenset[str]
    ) -> tuple[ChosenExample, ...]:
        """Return the most similar ones, the most similar one last: next to the question."""
        asking = self.vectors.nearest(
            caller, found, question=text, min_similarity=declared.min_similarity, limit=_FETCHED
        )
        nearest = await self._within((caller.project, found.embedding), asking)
        by_id = {found.example_of(each.text_id): each.similarity for each in nearest}
        examples: dict[str, Example] = {each.id: each for each in await self.examples.get(found, list(by_id))}
        shown = [
            ChosenExample(example=examples[name], similarity=similarity)
            for name, similarity in by_id.items()
            if name in examples and examples[name].may_be_shown_to(principals)
        ]
        return tuple(reversed(shown[: declared.count]))

    async def _within(
        self, pausing: tuple[str, str], asking: Coroutine[Any, Any, Sequence[Nearest]]
    ) -> Sequence[Nearest]:
        """Wait for rag, but not for long, and not at all while it is left alone.

        Raises:
            DependencyUnavailable: it does not answer, or not in time.

        """
        if time.monotonic() < self._paused_until.get(pausing, 0.0):
            asking.close()
            message = f"rag has failed within the last {self.pause_s:g} s"
            raise DependencyUnavailable(message, dependency="rag")
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asking
        except TimeoutError as error:
            self._pause(pausing)
            message = f"rag has not compared the question with examples in {self.timeout_s:g} s"
            raise DependencyUnavailable(message, dependency="rag") from error
        except (NotFound, InvalidInput, PreconditionFailed):
            raise  # rag has answered: it is this set that cannot be asked
        except TidemillError:
            self._pause(pausing)
            raise

    def _pause(self, pausing: tuple[str, str]) -> None:
        now = time.monotonic()
        for each in [name for name, until in self._paused_until.items() if until <= now]:
            del self._paused_until[each]
        self._paused_until[pausing] = now + self.pause_s


def _unready(declared: Examples, found: ExampleSet | None, question: Question) -> Chosen:
    failed = found is not None and found.state is SetState.FAILED
    what = found.why if found and failed else "they are being loaded"
    why = f"{NOT_READY}: the answer was given no examples of {declared.dataset}: {what}"
    if question.purpose is not Purpose.EVALUATION:
        return Chosen(why_not=why)
    if failed:
        raise ExamplesUnusable(why, dataset=declared.dataset)
    raise DependencyUnavailable(why, dependency="examples")
