"""Resolve reactions: measure what an example would have as its output, and cache the prompt."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)
from tidemill_feedback.curations.domain.example import Prompt
from tidemill_feedback.curations.domain.filters import Filters
from tidemill_feedback.curations.domain.ledger import WITHDRAWN, CurationRef, Row
from tidemill_feedback.curations.domain.measures import Measures
from tidemill_feedback.curations.ports import Ledger, Measure, MeasuredText, Prompts, RecordedPrompts
from tidemill_feedback.errors import AnswerNotRecorded
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.domain.reaction import CORRECTION
from tidemill_feedback.reactions.ports import FeedbackStore

MAX_ATTEMPTS = 5
_BATCH = 200
_FINAL = (NotFound, PreconditionFailed, InvalidInput, PermissionDenied)
_LATER = (DependencyUnavailable, RateLimited, DeadlineExceeded)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveExamples:
    """Measures corrections, and answers that were rated or chosen; fetches each prompt once, several concurrently.

    What corrections are compared by is measured only where the filters compare them, also of those that were resolved
    before they did.
    """

    feedback: FeedbackStore
    recorded: RecordedPrompts
    prompts: Prompts
    ledger: Ledger
    measure: Measure
    max_concurrent: int

    async def __call__(
        self, caller: Caller, ref: CurationRef, rows: Sequence[Row], *, filters: Filters, epoch: int
    ) -> Sequence[Row]:
        """Return the rows as they are afterwards.

        Raises:
            DependencyUnavailable: a dependency is down; progress is kept.

        """
        # In a thread, because these may be all corrections.
        pending, finished = await asyncio.to_thread(_divided, rows, filters)
        for begin in range(0, len(pending), _BATCH):
            for row in await self._resolve_batch(caller, ref, pending[begin : begin + _BATCH], filters, epoch):
                finished[row.candidate.feedback] = row
        return list(finished.values())

    async def _resolve_batch(
        self, caller: Caller, ref: CurationRef, rows: Sequence[Row], filters: Filters, epoch: int
    ) -> Sequence[Row]:
        texts = await self.feedback.get_many(ref.project, [row.candidate.feedback for row in rows])
        requested_by = defaultdict[str, list[str]](list)
        for row in rows:
            if row.candidate.feedback in texts:
                for inference in row.candidate.inferences:
                    requested_by[inference].append(row.candidate.feedback)
        missing = await self.prompts.missing(ref.project, list(requested_by))
        failures = await self._fetch(caller, {inference: requested_by[inference] for inference in missing})
        read = [each.inference for each in texts.values() if filters.measures or each.metric != CORRECTION]
        prompts = await self.prompts.get(ref.project, read) if read else {}
        measured = await self._measured(ref, texts, prompts, filters)
        outputs = _outputs(texts, prompts)
        resolved = []
        for row in rows:
            failure = next((failures[each] for each in row.candidate.inferences if each in failures), None)
            found = texts.get(row.candidate.feedback)
            if failure is not None:
                resolved.append(await self._fail(ref, row, epoch, failure))
            elif found is None:
                await self.ledger.forget({row.candidate.feedback: row.candidate.seq})  # erased concurrently
            elif not found.teaches or found.current is None:
                await self.ledger.exclude(found.id, seq=found.seq)
                resolved.append(replace(row, failure=WITHDRAWN))
            elif found.id not in outputs or (filters.measures and found.id not in measured):
                resolved.append(row)  # its prompt was erased concurrently
            else:
                resolved.append(await self._finish(ref, row, epoch, outputs[found.id], measured.get(found.id)))
        return resolved

    async def _finish(self, ref: CurationRef, row: Row, epoch: int, text: str, measures: Measures | None) -> Row:
        if row.candidate.metric != CORRECTION and not text.strip():
            return await self._fail(ref, row, epoch, AnswerNotRecorded(row.candidate.inference))
        chars = len(text.strip())
        if await self.ledger.resolve(ref, row, epoch=epoch, chars=chars, measures=measures):
            return replace(row, resolved_seq=row.candidate.seq, chars=chars, attempts=0, measures=measures)
        return row

    async def _measured(
        self, ref: CurationRef, found: Mapping[str, Feedback], prompts: Mapping[str, Prompt], filters: Filters
    ) -> Mapping[str, Measures]:
        """Return the measures by feedback, but of that whose prompt is not there."""
        if not filters.measures:
            return {}
        texts = {
            each.id: MeasuredText(prompt=prompts[each.inference], text=each.current.text)
            for each in found.values()
            if each.current is not None and each.inference in prompts
        }
        label = filters.cohort_label
        key = f"{ref.key}/{ref.incarnation}"
        measured = await self.measure([*texts.values()], key=key, find_spam=filters.exclude_spam)
        return {
            name: replace(measures, cohort_label=label, cohort=found[name].labels.get(label, "") if label else "")
            for name, measures in zip(texts, measured, strict=True)
        }

    async def _fetch(self, caller: Caller, requested_by: Mapping[str, Sequence[str]]) -> dict[str, TidemillError]:
        """Fetch and store the prompts of these inferences; return the failures."""
        turns, failures = asyncio.Semaphore(self.max_concurrent), dict[str, TidemillError]()

        async def fetch(inference: str) -> None:
            async with turns:
                try:
                    prompt = await self.recorded.prompt(caller, inference)
                except TidemillError as error:
                    failures[inference] = error
                else:
                    await self._keep(caller.project, inference, prompt, requested_by[inference])

        await asyncio.gather(*(fetch(inference) for inference in requested_by))
        for error in failures.values():
            if isinstance(error, _LATER):
                raise error
        return await self._without_kept(caller.project, failures, requested_by)

    async def _without_kept(
        self, project: str, failures: dict[str, TidemillError], requested_by: Mapping[str, Sequence[str]]
    ) -> dict[str, TidemillError]:
        """Return the failures but those whose prompt an earlier version kept: only its answer is gone, which is ""."""
        gone = [inference for inference, error in failures.items() if isinstance(error, _FINAL)]
        for inference, prompt in (await self.prompts.get(project, gone) if gone else {}).items():
            await self._keep(project, inference, replace(prompt, answer=prompt.answer or ""), requested_by[inference])
            del failures[inference]
        return failures

    async def _keep(self, project: str, inference: str, prompt: Prompt, requested_by: Sequence[str]) -> None:
        """Store a prompt, unless all feedback that needs it was erased meanwhile.

        An erasure writes its tombstones before it deletes prompts, so a read after the write finds it.
        """
        await self.prompts.keep(project, inference, prompt)
        if not await self.feedback.get_many(project, requested_by):
            await self.prompts.forget(project, [inference])

    async def _fail(self, ref: CurationRef, row: Row, epoch: int, error: TidemillError) -> Row:
        final = isinstance(error, _FINAL) or row.attempts + 1 >= MAX_ATTEMPTS
        if await self.ledger.fail(ref, row, epoch=epoch, message=error.reason, final=final):
            return replace(row, attempts=row.attempts + 1, failure=error.reason if final else "")
        return row


def _outputs(found: Mapping[str, Feedback], prompts: Mapping[str, Prompt]) -> Mapping[str, str]:
    """Return by feedback what an example would have as its output: the correction, or the answer, if it is kept."""
    outputs = dict[str, str]()
    for each in found.values():
        if each.current is not None and each.metric == CORRECTION:
            outputs[each.id] = each.current.text
        elif each.current is not None and each.inference in prompts:
            outputs[each.id] = prompts[each.inference].answer or ""
    return outputs


def _divided(rows: Sequence[Row], filters: Filters) -> tuple[list[Row], dict[str, Row]]:
    """Return the rows to resolve, and the others; what is not selected is not compared."""
    pending, finished = list[Row](), dict[str, Row]()
    for row in rows:
        if row.pending or (filters.selects(row) and filters.awaits(row)):
            pending.append(row)
        else:
            finished[row.candidate.feedback] = row
    return pending, finished
