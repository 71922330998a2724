"""Store all examples that count as a batch, and complete the curation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Clock, Request, derived_id
from tidemill_feedback.curations.domain.counting import Chosen
from tidemill_feedback.curations.domain.curation import Batch, Curation, Rule
from tidemill_feedback.curations.domain.example import Example, ExampleKind, Prompt
from tidemill_feedback.curations.domain.ledger import Begun, CandidateExample, CurationRef, Row
from tidemill_feedback.curations.ports import Batches, CurationStore, Ledger, Prompts
from tidemill_feedback.errors import AnswerNotRecorded
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.ports import FeedbackStore

PROMPTS_DIFFER = "PROMPTS_DIFFER"
"""Why a choice is no preference: the model was given something else for each answer."""
_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteCuration:
    """Emits CurationWasCompleted once per completion number.

    The order of writes makes crashes safe: the ledger says where the batch will be, the batch is stored under its
    content hash, its rows are tagged with the number, then the aggregate takes the number. Until then the rows count as
    new, and the next reconciliation removes the batch. Storing the epoch first excludes workers with an expired lease.
    Feedback that is erased or withdrawn meanwhile has no row to tag: the batch is removed, and the completion repeated.
    """

    curations: CurationStore
    feedback: FeedbackStore
    ledger: Ledger
    prompts: Prompts
    batches: Batches
    clock: Clock

    async def __call__(self, curation: Curation, chosen: Chosen, *, epoch: int) -> bool:
        """Return whether it was completed; False after a concurrent change: reconcile again.

        Raises:
            EpochOver: another worker has the lease.

        """
        ref, number = curation.ref, curation.completions + 1
        taken = await self.curations.update(
            ref.project, ref.curation, lambda each: each.take(epoch), request=Request.internal()
        )
        if taken.ref != ref or taken.rule != curation.rule or taken.completions + 1 != number:
            return False
        examples = await self._examples(curation, chosen, epoch)
        if examples is None:
            return False

        async def begin(batch: ObjectRef) -> None:
            await self.ledger.record_batch(ref, Begun(object=batch, completion=number), epoch=epoch)

        stored, fitted = await self.batches.put(ref, examples, begin=begin)
        batch = Batch(
            object=stored,
            kind=curation.rule.kind,
            examples=fitted,
            new=min(chosen.counts.new, fitted),
            left_out=chosen.left_out + len(examples) - fitted,
        )
        # Examples that did not fit are tagged too: as new ones they would complete the curation again and again.
        if not await self.ledger.tag(ref, [each.feedback for each in examples], completion=number, epoch=epoch):
            await self.batches.remove(stored)
            await self.ledger.record_batch(ref, None, epoch=epoch)
            return False
        now = self.clock.now()
        completed = await self.curations.update(
            ref.project,
            ref.curation,
            lambda each: each.complete(batch, rule=curation.rule, number=number, epoch=epoch, now=now),
            request=Request.internal(),
        )
        if completed.completions != number:
            return False
        await self.ledger.record_batch(ref, None, epoch=epoch)
        return True

    async def remove_unfinished(self, curation: Curation, begun: Begun, *, epoch: int) -> None:
        """Remove a batch of an attempt that ended before its completion: what is in it may be erased since.

        Raises:
            EpochOver: another worker has the lease.

        """
        ref = curation.ref
        taken = await self.curations.update(
            ref.project, ref.curation, lambda each: each.take(epoch), request=Request.internal()
        )
        if taken.completions < begun.completion:
            await self.batches.remove(begun.object)
        await self.ledger.record_batch(ref, None, epoch=epoch)

    async def drop(self, ref: CurationRef) -> None:
        """Forget an incarnation that is deleted, with the batch that it was about to complete with."""
        if begun := (await self.ledger.tally(ref)).batch:
            await self.batches.remove(begun.object)
        await self.ledger.drop(ref)

    async def _examples(self, curation: Curation, chosen: Chosen, epoch: int) -> Sequence[Example] | None:
        """Return the examples; None if one has changed since it was chosen, counts no more, or lost its prompt.

        An erasure deletes prompts, which later feedback on the same inference may need again.
        """
        ref, examples = curation.ref, list[Example]()
        for begin in range(0, len(chosen.rows), _BATCH_SIZE):
            rows = chosen.rows[begin : begin + _BATCH_SIZE]
            texts = await self.feedback.get_many(ref.project, [row.candidate.feedback for row in rows])
            named = [inference for row in rows for inference in row.candidate.inferences]
            prompts = await self.prompts.get(ref.project, named)
            for row in rows:
                text = texts.get(row.candidate.feedback)
                if text is None:
                    await self.ledger.forget({row.candidate.feedback: row.candidate.seq})
                elif not text.teaches:
                    await self.ledger.exclude(text.id, seq=text.seq)
                elif text.seq != row.candidate.seq:
                    await self.ledger.upsert_correction(ref, CandidateExample.of(text))
                elif example := await self._example(curation, row, text, prompts, epoch):
                    examples.append(example)
            if len(examples) < begin + len(rows):
                return None
        return examples

    async def _example(
        self, curation: Curation, row: Row, feedback: Feedback, prompts: Mapping[str, Prompt], epoch: int
    ) -> Example | None:
        """Return what is made of a row; None where its prompts are fetched again, or it never makes an example."""
        ref, needs_answers = curation.ref, curation.rule.kind is not ExampleKind.DEMONSTRATION
        asked = [prompts[inference] for inference in row.candidate.inferences if inference in prompts]
        if len(asked) < len(row.candidate.inferences) or (needs_answers and any(each.answer is None for each in asked)):
            await self.ledger.reopen(ref, row, epoch=epoch)
        elif needs_answers and not all((each.answer or "").strip() for each in asked):
            await self.ledger.fail(ref, row, epoch=epoch, message=AnswerNotRecorded.reason, final=True)
        elif any(each.messages != asked[0].messages for each in asked):
            await self.ledger.fail(ref, row, epoch=epoch, message=PROMPTS_DIFFER, final=True)
        else:
            return _example(ref, curation.rule, feedback, asked)
        return None


def _example(ref: CurationRef, rule: Rule, feedback: Feedback, asked: Sequence[Prompt]) -> Example:
    """Return the example of what was asked: one prompt, of a choice a second one with the rejected answer."""
    given, own = feedback.current, asked[0].answer
    assert given is not None  # noqa: S101 - recorded feedback has something given
    output, rejected, label = given.text, None, None
    if given.preference:
        output, rejected = own or "", asked[1].answer
    elif rule.kind is ExampleKind.PREFERENCE:
        rejected = own
    elif rule.kind is ExampleKind.UNPAIRED_PREFERENCE and given.number is not None:
        output, label = own or "", rule.is_good(given.number)
    return Example(
        id=derived_id(ref.project, ref.curation, CandidateExample.of(feedback).about),
        inference=feedback.inference,
        feedback=feedback.id,
        end_user=feedback.end_user,
        asked_by=feedback.asked_by if feedback.asked_by != feedback.end_user else "",
        prompt=asked[0],
        output=output,
        observe_time=given.observe_time,
        kind=rule.kind,
        rejected=rejected,
        label=label,
        change_time=feedback.update_time,
        cohort=feedback.labels.get(rule.cohort_label, "") if rule.cohort_label else "",
    )
