"""Stores and an inference service in memory."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.feedback.tests.builders import BUCKET, prompt_of
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page, PageRequest, ResourceKey
from tidemill_core.errors import TidemillError
from tidemill_core.quotas import Quota
from tidemill_feedback.curations.domain.example import Example, Prompt
from tidemill_feedback.curations.domain.ledger import (
    WITHDRAWN,
    Begun,
    CandidateExample,
    Counts,
    CurationRef,
    Row,
    Tally,
)
from tidemill_feedback.curations.domain.measures import Measures
from tidemill_feedback.curations.exchange import ExchangeBatches
from tidemill_feedback.curations.ports import Begin
from tidemill_feedback.errors import (
    ConversationUnknown,
    EpochOver,
    InferenceUnknown,
    TooManyWait,
)
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_feedback.reactions.domain.feedback import Answer
from tidemill_feedback.reactions.domain.reaction import OF_CONVERSATION
from tidemill_feedback.reactions.ports import Waiting
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.objects import InMemoryObjects


class InMemoryLedger:
    """Does what `MongoLedger` does: both pass tests/adapters/test_ledgers.py."""

    def __init__(self) -> None:
        self.stored: dict[tuple[CurationRef, str], Row] = {}
        self.epochs: dict[tuple[CurationRef, str], int] = {}
        self.counted: dict[CurationRef, tuple[int, Tally]] = {}
        self.checked_refs: list[CurationRef] = []
        """The incarnations of which all rows were read."""

    async def upsert_correction(self, ref: CurationRef, candidate: CandidateExample) -> bool:
        row = self.stored.get((ref, candidate.feedback))
        self._changed(ref)
        if row and row.candidate.seq >= candidate.seq:
            return False
        kept = row or Row(candidate=candidate, first_time=candidate.observe_time)
        self.stored[ref, candidate.feedback] = replace(kept, candidate=candidate, attempts=0, failure="", refusal="")
        return True

    async def rows(self, ref: CurationRef) -> Sequence[Row]:
        self.checked_refs.append(ref)
        return [row for (of, _), row in self.stored.items() if of == ref]

    async def pending(self, ref: CurationRef, *, limit: int) -> Sequence[Row]:
        return [row for (of, _), row in self.stored.items() if of == ref and row.pending][:limit]

    async def resolve(
        self, ref: CurationRef, row: Row, *, epoch: int, chars: int, measures: Measures | None = None
    ) -> bool:
        done = {"resolved_seq": row.candidate.seq, "chars": chars, "failure": "", "attempts": 0, "measures": measures}
        return self._write(ref, row, epoch, lambda now: replace(now, **done))  # type: ignore[arg-type]  # fields of Row

    async def fail(self, ref: CurationRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        failure = message if final else ""
        return self._write(ref, row, epoch, lambda now: replace(now, attempts=row.attempts + 1, failure=failure))

    async def reopen(self, ref: CurationRef, row: Row, *, epoch: int) -> bool:
        return self._write(ref, row, epoch, lambda now: replace(now, resolved_seq=0))

    async def tag(self, ref: CurationRef, feedback: Sequence[str], *, completion: int, epoch: int) -> bool:
        for (of, name), row in list(self.stored.items()):
            if of != ref:
                continue
            stale = row.completion == completion and name not in feedback
            if not stale and not (name in feedback and row.completion == 0):
                continue
            if self.epochs.get((ref, name), 0) > epoch:
                raise EpochOver(ref.curation)
            self.epochs[ref, name] = epoch
            self.stored[ref, name] = replace(row, completion=0 if stale else completion)
        return all((ref, name) in self.stored and not self.stored[ref, name].withdrawn for name in feedback)

    async def exclude(self, feedback: str, *, seq: int) -> None:
        for place, row in self._until({feedback: seq}).items():
            candidate = replace(row.candidate, seq=seq)
            self.stored[place] = replace(row, candidate=candidate, failure=WITHDRAWN, refusal="", measures=None)

    async def forget(self, feedback: Mapping[str, int]) -> None:
        for place in self._until(feedback):
            del self.stored[place]

    def _until(self, feedback: Mapping[str, int]) -> Mapping[tuple[CurationRef, str], Row]:
        found = {of: row for of, row in self.stored.items() if row.candidate.seq <= feedback.get(of[1], -1)}
        for ref in {ref for ref, _ in found}:
            self._changed(ref)
        return found

    async def drop(self, ref: CurationRef) -> None:
        self.stored = {place: row for place, row in self.stored.items() if place[0] != ref}
        self.counted.pop(ref, None)

    async def kept(self) -> Sequence[CurationRef]:
        return [*{ref for ref, _ in self.stored} | self.counted.keys()]

    async def record_counts(self, ref: CurationRef, tally: Tally, *, epoch: int) -> None:
        self._record(ref, epoch, counts=tally.counts, seen=tally.seen, rows=tally.rows, version=tally.version)

    async def record_refusals(self, ref: CurationRef, refusals: Mapping[str, str], *, epoch: int) -> None:
        for name, reason in refusals.items():
            row = self.stored.get((ref, name))
            if row and not row.pending and self.epochs.get((ref, name), 0) <= epoch:
                self.stored[ref, name], self.epochs[ref, name] = replace(row, refusal=reason), epoch

    async def refused(self, ref: CurationRef, page: PageRequest) -> Page[Row]:
        found = [row for (of, _), row in self.stored.items() if of == ref and row.refusal]
        found = [row for row in found if page.where.get("refusal", row.refusal) == row.refusal]
        found.sort(key=lambda row: (row.candidate.observe_time, row.candidate.feedback), reverse=page.newest_first)
        begin = int(page.token or 0)
        end = begin + page.size
        return Page(items=found[begin:end], next_token=str(end) if end < len(found) else "")

    async def record_listed(self, ref: CurationRef, *, deployments: int, token: str, epoch: int) -> None:
        self._record(ref, epoch, deployments=deployments, listed=token)

    async def record_due(self, ref: CurationRef, due: datetime | None, *, epoch: int) -> None:
        self._record(ref, epoch, due=due)

    async def record_batch(self, ref: CurationRef, batch: Begun | None, *, epoch: int) -> None:
        if self.counted.get(ref, (0,))[0] > epoch:
            raise EpochOver(ref.curation)
        self._record(ref, epoch, batch=batch)

    async def tally(self, ref: CurationRef) -> Tally:
        return self.counted.get(ref, (0, Tally()))[1]

    async def counts(self, refs: Sequence[CurationRef]) -> Mapping[CurationRef, Counts]:
        return {ref: tally.counts for ref, (_, tally) in self.counted.items() if ref in refs}

    async def pending_curations(self, now: datetime) -> Sequence[CurationRef]:
        return [
            ref
            for ref, (_, tally) in self.counted.items()
            if tally.seen != tally.changes or (tally.due is not None and tally.due <= now) or tally.batch
        ]

    def _changed(self, ref: CurationRef) -> None:
        epoch, tally = self.counted.get(ref, (0, Tally()))
        self.counted[ref] = epoch, replace(tally, changes=tally.changes + 1)

    def _record(self, ref: CurationRef, epoch: int, **recorded: Any) -> None:  # noqa: ANN401 - fields of Tally
        known, tally = self.counted.get(ref, (0, Tally()))
        if known <= epoch:
            self.counted[ref] = epoch, replace(tally, **recorded)

    def _write(self, ref: CurationRef, row: Row, epoch: int, change: Callable[[Row], Row]) -> bool:
        place = ref, row.candidate.feedback
        now = self.stored.get(place)
        if now is None or now.candidate.seq != row.candidate.seq or self.epochs.get(place, 0) > epoch:
            return False
        self.stored[place], self.epochs[place] = change(now), epoch
        return True


PENDING_QUOTA = Quota(of="pending inferences", limit=5, setting="FEEDBACK_MAX_PENDING_INFERENCES", remedy="wait")


class InMemoryPending:
    """Does what `MongoPending` does: both pass tests/adapters/test_stores.py."""

    def __init__(self, *, maximum: int = 3, quota: Quota = PENDING_QUOTA) -> None:
        self.stored: dict[tuple[str, str], list[Waiting]] = {}
        self._max = maximum
        self._quota = quota

    async def add(self, waiting: Waiting) -> None:
        if (waiting.project, waiting.inference) not in self.stored:
            self._quota.check(waiting.project, sum(project == waiting.project for project, _ in self.stored))
        there = self.stored.setdefault((waiting.project, waiting.inference), [])
        if any(each.request.id == waiting.request.id for each in there):
            return
        if len(there) >= self._max:
            raise TooManyWait(waiting.inference, limit=self._max)
        there.append(waiting)

    async def of(self, project: str, inference: str) -> Sequence[Waiting]:
        return list(self.stored.get((project, inference), []))

    async def since(
        self, until: datetime, *, page: PageRequest, without: frozenset[str] = frozenset()
    ) -> Page[ResourceKey]:
        expired = {
            f"{there[0].since.isoformat()} {'/'.join(place)}": ResourceKey(project=place[0], id=place[1])
            for place, there in self.stored.items()
            if there and there[0].since <= until and place[0] not in without
        }
        tokens = sorted(token for token in expired if token > page.token)
        found = tokens[: page.size]
        return Page(items=[expired[token] for token in found], next_token=found[-1] if len(tokens) > page.size else "")

    async def remove(self, waiting: Waiting) -> None:
        place = waiting.project, waiting.inference
        left = [each for each in self.stored.get(place, []) if each.request.id != waiting.request.id]
        self.stored.pop(place, None)
        if left:
            self.stored[place] = left

    async def forget(self, project: str, end_user: str) -> int:
        theirs = [
            (place, each)
            for place, there in self.stored.items()
            for each in there
            if place[0] == project and each.reaction.end_user == end_user
        ]
        for _, each in theirs:
            await self.remove(each)
        return len({place for place, _ in theirs})


class InMemoryExpectedValues:
    """Does what `MongoExpectedValues` does: both pass tests/maturity/test_expected_values.py."""

    def __init__(self) -> None:
        self.stored: dict[ResourceKey, ExpectedValue] = {}

    async def add(self, values: Sequence[ExpectedValue]) -> None:
        for each in values:
            self.stored.setdefault(each.key, each)

    async def get(self, key: ResourceKey) -> ExpectedValue | None:
        return self.stored.get(key)

    async def due(self, now: datetime, *, page: PageRequest, without: frozenset[str]) -> Page[ResourceKey]:
        found = [each for each in self.stored.values() if each.due <= now and each.project not in without]
        found = sorted(found, key=lambda each: (each.due, each.key.project, each.key.id))
        start = int(page.token or 0)
        keys = [each.key for each in found[start : start + page.size]]
        return Page(items=keys, next_token=str(start + page.size) if len(keys) == page.size else "")

    async def put_off(self, key: ResourceKey, *, until: datetime) -> None:
        self.stored |= {key: replace(self.stored[key], due=until)} if key in self.stored else {}

    async def remove(self, key: ResourceKey) -> None:
        self.stored.pop(key, None)


class InMemoryPrompts:
    """Does what `MongoPrompts` does."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], Prompt] = {}

    async def missing(self, project: str, inferences: Sequence[str]) -> Sequence[str]:
        known = {each for each in inferences if (project, each) in self.stored}
        return [
            each for each in dict.fromkeys(inferences) if each not in known or self.stored[project, each].answer is None
        ]

    async def keep(self, project: str, inference: str, prompt: Prompt) -> None:
        known = self.stored.get((project, inference))
        if known is None or known.answer is None:
            self.stored[project, inference] = prompt

    async def get(self, project: str, inferences: Sequence[str]) -> Mapping[str, Prompt]:
        return {each: self.stored[project, each] for each in inferences if (project, each) in self.stored}

    async def forget(self, project: str, inferences: Sequence[str]) -> None:
        for each in inferences:
            self.stored.pop((project, each), None)


class FakeInferences:
    """Answers as inference does; `failure` is raised by the next calls, `asked` are the prompts that were asked for.

    `meanwhile` happens while the next prompt is fetched.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.failure: TidemillError | None = None
        self.no_prompt: dict[str, TidemillError] = {}
        self.asked: list[str] = []
        self.erased: list[tuple[str, str]] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.silent: set[str] = set()
        """Inferences whose answer is empty."""
        self.forgets_answers = False
        self.questions: dict[str, str] = {}
        """By inference, where the question is another than `prompt_of` has."""
        self.conversations: dict[tuple[str, str], str] = {}
        """The last answer of each conversation of a project."""

    async def erase(self, caller: Caller, end_user: str, *, validate_only: bool) -> int:
        if self.failure:
            raise self.failure
        asked = [of for of, answer in self.answers.items() if of[0] == caller.project and answer.end_user == end_user]
        theirs = [of for of in asked if of not in self.erased]
        if not validate_only:
            self.erased += theirs
        return len(theirs)

    def put(  # noqa: PLR0913 - an answer has many sides
        self,
        inference: str,
        *,
        project: str = "acme",
        deployment: str = "helpdesk",
        end_user: str = "u1",
        live: bool = True,
        completed: bool = True,
        output: str = "It is wrong.",
        question: str = "q",
    ) -> None:
        self.answers[project, inference] = Answer(
            inference=inference,
            deployment=deployment,
            end_user=end_user,
            variant="candidate",
            rollout="r1",
            live=live,
            completed=completed,
            output=output,
            question=question,
            create_time=NOON,
        )

    async def answer(self, caller: Caller, target: str) -> Answer:
        if self.failure:
            raise self.failure
        conversation = target.removeprefix(OF_CONVERSATION)
        inference = target
        if conversation != target:
            if (caller.project, conversation) not in self.conversations:
                raise ConversationUnknown(conversation)
            inference = self.conversations[caller.project, conversation]
        try:
            return self.answers[caller.project, inference]
        except KeyError:
            raise InferenceUnknown(inference) from None

    async def prompt(self, caller: Caller, inference: str) -> Prompt:
        self.asked.append(inference)
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            await meanwhile()
        answer = await self.answer(caller, inference)
        if inference in self.no_prompt:
            raise self.no_prompt[inference]
        prompt = prompt_of(answer.question or inference)
        prompt = replace(prompt, question=self.questions.get(inference, prompt.question))
        if self.forgets_answers:
            return replace(prompt, answer=None)
        return replace(prompt, answer="" if inference in self.silent else answer.output)


class KeptDeadLetters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.letters: list[tuple[Waiting, str]] = []

    async def put(self, waiting: Waiting, error: TidemillError) -> None:
        self.letters.append((waiting, error.reason))


class BreakingBatches:
    """Stores batches, and can stop right after the put, as a killed process does, or let `meanwhile` happen."""

    def __init__(self, objects: InMemoryObjects, *, max_bytes: int) -> None:
        self._batches = ExchangeBatches(ExchangeBucket(objects, BUCKET), max_bytes=max_bytes)
        self.dies_after_put = False
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.puts = 0

    async def put(self, ref: CurationRef, examples: Sequence[Example], *, begin: Begin) -> tuple[ObjectRef, int]:
        stored = await self._batches.put(ref, examples, begin=begin)
        self.puts += 1
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            await meanwhile()
        if self.dies_after_put:
            message = "killed"
            raise Killed(message)
        return stored

    async def remove(self, stored: ObjectRef) -> None:
        await self._batches.remove(stored)


class Killed(BaseException):
    """Stands for the end of the process."""
