"""Answers given again to equal questions, one made for all that are asked at the same time."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cachetools import LRUCache
from prometheus_client import Counter

from tidemill_core.application import Caller, Clock
from tidemill_core.errors import DependencyUnavailable, NotFound, TidemillError
from tidemill_inference.caching.domain.key import key_of
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.caching.domain.savings import MADE, Savings, saved_by
from tidemill_inference.caching.domain.use import CacheKind, CacheUse
from tidemill_inference.caching.ports import Asked, CachedAnswers, Entry, Reused
from tidemill_inference.caching.similar import CompareQuestions, Earlier
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.domain.history import NO_HISTORY
from tidemill_inference.generation.domain.inference import Answer, Inference, State
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.generation.ports import Inferences

ANSWERS = Counter(
    "tidemill_cache_answers",
    "Answers of deployments with a cache: given again to an equal question (hit) or to a similar one (similar), made "
    "(miss), or made without asking it (bypassed).",
    ["outcome"],
)
SAVED_TOKENS = Counter(
    "tidemill_cache_saved_tokens", "Tokens that models did not process because an answer was given again.", ["kind"]
)

_WHOLE = frozenset({"stop", "length", "tool_calls"})
"""Reasons that end an answer that is given again."""
_OUTCOMES = {CacheKind.EXACT: "hit", CacheKind.SEMANTIC: "similar"}
_PART = 10
"""The share of a project's entries after which they are counted again, and that is removed where there are too many."""
_MAX_KNOWN = 10_000
"""Keys of which the process knows whose answer was given last; some 500 bytes each."""
_log = logging.getLogger(__name__)


def _uncounted(_project: str, _deployment: str, _savings: Savings) -> None:
    """Count nothing."""


@dataclass(slots=True, kw_only=True)
class _Flight:
    """An inference whose answer may be kept."""

    key: tuple[str, str]
    policy: CachePolicy
    caller: Caller
    asked: Asked
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry as this process last saw it, and until when it counts as what is stored."""

    entry: Entry
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseAnswers:
    """Implements `ports.Reusing`. The text of an answer stays in its record: what erases the one erases the other."""

    cached: CachedAnswers
    inferences: Inferences
    clock: Clock
    max_entries: int
    """Of a project."""
    comparing: CompareQuestions | None = None
    """Without it, answers are given again to equal questions only."""
    count: Callable[[str, str, Savings], None] = _uncounted
    """Called with project and deployment for each answer of a deployment with a cache; must not block."""
    entry_max_age: timedelta = timedelta()
    """How long an entry is not read again, so that one that another replica has replaced is followed that much later.

    The record that it names is read for each answer: what is erased, or gone, is not given again.
    """
    _flights: dict[tuple[str, str], _Flight] = field(default_factory=dict)
    """By project and inference."""
    _leading: dict[tuple[str, str], _Flight] = field(default_factory=dict)
    """By project and key."""
    _capacity: dict[str, int] = field(default_factory=dict)
    _known: LRUCache[tuple[str, str], _Known] = field(default_factory=lambda: LRUCache(_MAX_KNOWN))
    """By project and key; the inference that an entry named is read together with it."""

    async def find(self, caller: Caller, policy: CachePolicy, asked: Asked) -> Reused | None:
        """See `Reusing.find`."""
        question = asked.question
        if not _may_be_reused(question) or not asked.examples_known:
            ANSWERS.labels("bypassed").inc()
            return None
        key = key_of(
            question,
            configuration=asked.configuration,
            index=asked.index,
            passages=asked.passages,
            examples=asked.examples,
        )
        at = (caller.project, key)
        if question.no_cache:
            self._begin(at, caller, policy, asked, leads=False)
            ANSWERS.labels("bypassed").inc()
            return None
        if (first := self._leading.get(at)) is not None:
            await first.done.wait()
        else:
            self._begin(at, caller, policy, asked, leads=True)
        found = await self._found(caller.project, key, asked.passages)
        if found is None and policy.semantic:
            found = await self._similar(caller, policy.semantic, asked)
        ANSWERS.labels(_OUTCOMES[found.use.kind] if found else "miss").inc()
        if found is not None:
            self.end(caller.project, asked.inference.id)
            SAVED_TOKENS.labels("input").inc(found.use.saved_input_tokens)
            SAVED_TOKENS.labels("output").inc(found.use.saved_output_tokens)
        elif first is not None:
            self._begin(
                at, caller, policy, asked, leads=False
            )  # the first one came to nothing that is kept: none waits again
        return found

    async def keep(self, inference: Inference, answer: Answer) -> None:
        """See `Reusing.keep`."""
        flight = self._flights.get((inference.project, inference.id))
        if flight is not None or answer.cache is not None:
            savings = saved_by(answer.cache) if answer.cache is not None else MADE
            self.count(inference.project, inference.deployment, savings)
        if flight is None or not _may_be_kept(inference, answer, frozenset(flight.asked.question.notes)):
            return
        project, key = flight.key
        entry = Entry(
            key=key,
            deployment=inference.deployment,
            inference=inference.id,
            expire_time=self.clock.now() + flight.policy.ttl,
        )
        try:
            await self._remove_excess(project)
            await self.cached.put(project, entry)
            self._remember(flight.key, entry)
        except DependencyUnavailable as error:
            _log.warning("cached_answer_not_kept: %s: %s", inference.id, error.reason)
            return
        semantic = flight.policy.semantic
        if semantic and self.comparing:
            await self.comparing.keep(flight.caller, semantic, flight.asked, expire_time=entry.expire_time)

    def end(self, project: str, inference_id: str) -> None:
        """See `Reusing.end`."""
        flight = self._flights.pop((project, inference_id), None)
        if flight is not None:
            if self._leading.get(flight.key) is flight:
                del self._leading[flight.key]
            flight.done.set()

    def _begin(self, at: tuple[str, str], caller: Caller, policy: CachePolicy, asked: Asked, *, leads: bool) -> None:
        flight = _Flight(key=at, policy=policy, caller=caller, asked=asked)
        self._flights[at[0], asked.inference.id] = flight
        if leads:
            self._leading[at] = flight

    async def _similar(self, caller: Caller, policy: SemanticCachePolicy, asked: Asked) -> Reused | None:
        """Return what answers a similar question that was asked before: what it would get if it were asked now."""
        if self.comparing is None:
            return None
        try:
            for earlier in await self.comparing.earlier(caller, policy, asked):
                if found := await self._as_now(caller, earlier, asked, comparing=self.comparing):
                    return found
        except TidemillError as error:
            _log.warning("similar_answer_not_read: %s", error.reason)
        return None

    async def _as_now(
        self, caller: Caller, earlier: Earlier, asked: Asked, *, comparing: CompareQuestions
    ) -> Reused | None:
        """Search for the earlier question again: a changed document, index or right of its reader is seen."""
        messages = earlier.record.messages
        found = await asked.search(messages)
        if not found.examples_known:
            return None  # it is not known what it would get now
        question = replace(asked.question, messages=messages)
        key = key_of(
            question,
            configuration=asked.configuration,
            index=found.index,
            passages=found.passages,
            examples=found.examples,
        )
        reused = await self._found(caller.project, key, found.passages)
        if reused is None:
            await comparing.remove(caller, earlier.record.id)
            return None
        if not _cited(reused) <= {_span(each) for each in asked.passages}:
            return None  # what it rests on is not found for this question
        use = replace(reused.use, kind=CacheKind.SEMANTIC, similarity=earlier.similarity)
        return replace(reused, use=use)

    async def _found(self, project: str, key: str, passages: Sequence[Passage]) -> Reused | None:
        try:
            entry, record = await self._read(project, key)
            if entry is None or entry.expire_time <= self.clock.now():
                return None
            if record is None or not record.output:  # it was erased, or its retention is over
                await self.cached.remove(project, entry)
                return None
        except DependencyUnavailable as error:
            _log.warning("cached_answer_not_read: %s", error.reason)
            return None
        return _reused(record, passages) if record.state is State.COMPLETED and record.variant else None

    async def _read(self, project: str, key: str) -> tuple[Entry | None, Inference | None]:
        """Return the entry, and the record that it names: both at once where it names the same one as the last time."""
        at = (project, key)
        known = self._known.get(at)
        if known is not None and self.clock.now() < known.until:
            record = await self._record(project, known.entry.inference)
            if record is not None and record.output:
                return known.entry, record
        before = known.entry.inference if known else ""
        entry, record = await asyncio.gather(self.cached.get(project, key), self._record(project, before))
        if self._known.get(at) is not known:  # another was kept, or read, meanwhile: what was read may be older
            entry = now.entry if (now := self._known.get(at)) else entry
        elif entry is None:
            self._known.pop(at, None)
        else:
            self._remember(at, entry)
        if entry is not None and entry.inference != before:
            record = await self._record(project, entry.inference)
        return entry, record

    def _remember(self, at: tuple[str, str], entry: Entry) -> None:
        self._known[at] = _Known(entry, until=self.clock.now() + self.entry_max_age)

    async def _record(self, project: str, inference: str) -> Inference | None:
        if not inference:
            return None
        try:
            return await self.inferences.get(project, inference)
        except NotFound:
            return None

    async def _remove_excess(self, project: str) -> None:
        """Remove entries where a project has too many; replicas that count at the same time allow a tenth more each."""
        capacity = self._capacity.get(project, 0)
        if capacity <= 0:
            part = max(1, self.max_entries // _PART)
            count = await self.cached.count(project, limit=self.max_entries)
            if count >= self.max_entries:
                count -= await self.cached.remove_first(project, limit=part)
            capacity = min(part, self.max_entries - count)
        self._capacity[project] = capacity - 1

    @property
    def projects(self) -> set[str]:
        """The projects of which something is in memory."""
        return {*self._capacity, *(project for project, _ in self._known)}

    async def forget(self, project: str) -> int:
        """Forget a project; return how much that was."""
        known = [at for at in self._known if at[0] == project]
        for at in known:
            del self._known[at]
        return len(known) + int(self._capacity.pop(project, None) is not None)


def _may_be_reused(question: Question) -> bool:
    """Whether an equal question has an equal answer: not in a conversation, which goes on, nor in a comparison."""
    return (
        question.purpose is Purpose.LIVE
        and not question.conversation
        and question.history == NO_HISTORY
        and not question.sampling.logprobs  # records do not keep them
    )


def _may_be_kept(inference: Inference, answer: Answer, notes: frozenset[str]) -> bool:
    """Whether an answer is good for others too: whole, in its record, and not degraded."""
    return (
        inference.record is RecordMode.FULL
        and answer.cache is None
        and answer.finish_reason in _WHOLE
        and set(answer.warnings) <= notes
        and not answer.logprobs
    )


def _cited(reused: Reused) -> set[tuple[object, ...]]:
    """Return the spans of what an answer cites."""
    parts = (part for message in reused.output for part in message.parts)
    cited = {citation.passage for part in parts for citation in part.citations}
    return {_span(each) for each in reused.passages if each.id in cited}


def _span(passage: Passage) -> tuple[object, ...]:
    return (passage.collection, passage.document, passage.version, passage.start, passage.end)


def _reused(record: Inference, passages: Sequence[Passage]) -> Reused:
    assert record.variant is not None  # noqa: S101 - it is complete
    usage, cost = record.usage, record.cost
    use = CacheUse(
        kind=CacheKind.EXACT,
        inference=record.id,
        saved_input_tokens=usage.input_tokens if usage else 0,
        saved_output_tokens=usage.output_tokens if usage else 0,
        saved_time_s=round(max(0.0, usage.total_s - usage.search_s), 6) if usage else 0.0,
        saved_nanos=cost.nanos if cost else 0,
        currency=cost.currency if cost and cost.nanos else "",
    )
    return Reused(
        output=record.output,
        alternatives=record.alternatives,
        variant=record.variant,
        finish_reason=record.finish_reason,
        citation_valid=record.citation_valid,
        passages=tuple(passages),
        use=use,
    )
