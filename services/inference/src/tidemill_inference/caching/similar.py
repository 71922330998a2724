"""Earlier questions that are similar to one: found, kept and removed at rag, which may be down or slow."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from prometheus_client import Counter

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound, TidemillError
from tidemill_inference.caching.domain.key import may_be_similar, numbers_in, scope_of
from tidemill_inference.caching.domain.policy import SemanticCachePolicy
from tidemill_inference.caching.ports import Asked, SimilarQuestions
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import Inferences

T = TypeVar("T")
FAILURES = Counter(
    "tidemill_cache_similar_failures",
    "Questions that were not compared with earlier ones, or not kept to be, because rag failed or was too slow.",
)
_TRIED = 2
"""Earlier questions whose answers are checked."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The record of an earlier question, and the cosine similarity."""

    record: Inference
    similarity: float


@dataclass(slots=True, kw_only=True)
class CompareQuestions:
    """What rag does not do in `timeout_s` goes on behind the answer, so that a model is loaded once.

    After a failure rag is left alone for `pause_s` by the project that it failed.
    """

    questions: SimilarQuestions
    inferences: Inferences
    timeout_s: float = 1.0
    pause_s: float = 5.0
    _paused_until: dict[str, float] = field(default_factory=dict)
    """By project: what is wrong with a model of one is no failure of rag."""
    _running: set[asyncio.Task[Any]] = field(default_factory=set)

    async def earlier(self, caller: Caller, policy: SemanticCachePolicy, asked: Asked) -> list[Earlier]:
        """Return earlier questions with the same numbers in them, the most similar one first.

        Raises:
            DependencyUnavailable: the store of records does not answer.

        """
        question = asked.question
        if not may_be_similar(question):
            return []
        scope, text = scope_of(question, configuration=asked.configuration), question.text
        finding = self.questions.nearest(caller, policy, scope=scope, text=text, limit=_TRIED)
        found: list[Earlier] = []
        for each in await self._within(caller.project, finding) or ():
            record = await self._record(caller.project, each.inference)
            if record is None:
                await self.remove(caller, each.inference)
            elif numbers_in(record.messages[0].text) == numbers_in(text):
                found.append(Earlier(record=record, similarity=each.similarity))
        return found

    async def keep(self, caller: Caller, policy: SemanticCachePolicy, asked: Asked, *, expire_time: datetime) -> None:
        """Have the question compared with later ones; the answer does not wait for it."""
        question = asked.question
        if may_be_similar(question):
            keeping = self.questions.put(
                caller,
                policy,
                scope=scope_of(question, configuration=asked.configuration),
                text=question.text,
                inference=asked.inference.id,
                end_user=asked.inference.end_user,
                expire_time=expire_time,
            )
            self._begun(caller.project, keeping)

    async def remove(self, caller: Caller, inference: str) -> None:
        """Compare nothing with a question any longer whose answer is given no more."""
        await self._within(caller.project, self.questions.remove(caller, [inference]))

    async def _record(self, project: str, inference: str) -> Inference | None:
        """Return a record that still has its question."""
        try:
            record = await self.inferences.get(project, inference)
        except NotFound:
            return None
        return record if record.messages else None

    async def _within(self, project: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what comes of a call to rag; None where it fails, or takes too long."""
        if (task := self._begun(project, work)) is None:
            return None
        done, _ = await asyncio.wait({task}, timeout=self.timeout_s)
        if not done:
            _log.warning("similar_question_too_slow: %g s", self.timeout_s)
            self._fail(project)
            return None
        return task.result()

    def _begun(self, project: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T | None] | None:
        """Begin a call to rag, which the caller does not wait for; None while rag is left alone."""
        if time.monotonic() < self._paused_until.get(project, 0.0):
            work.close()
            FAILURES.inc()
            return None
        task = asyncio.create_task(self._failing_open(project, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _failing_open(self, project: str, work: Coroutine[Any, Any, T]) -> T | None:
        try:
            return await work
        except TidemillError as error:
            _log.warning("similar_question_failed: %s", error.reason)
            self._fail(project)
            return None

    def _fail(self, project: str) -> None:
        FAILURES.inc()
        now = time.monotonic()
        paused = {each: until for each, until in self._paused_until.items() if until > now}
        self._paused_until = paused | {project: now + self.pause_s}
