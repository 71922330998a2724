"""What is left of a deleted project, of an erased end user, and of what is past its retention."""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.feedback.tests.builders import ADA, BUCKET, correction
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_feedback.curations.exchange import EraseBatches
from tidemill_feedback.erasure import steps
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.forget_old import ForgetOldFeedback
from tidemill_kit.erasure.steps import Scope, Steps, Target
from tidemill_testkit.erasure import stored_by
from tidemill_testkit.retained import FakeRetained


async def test_everything_that_is_stored_is_erased_with_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("feedback", tmp_path, monkeypatch)

    assert stored.not_covered(kept={}) == set()


U1 = Target(project="acme", scope=Scope.END_USER, subject="u1")


def steps_of(harness: FeedbackHarness) -> Steps:
    """Return what the service erases, of the harness."""
    database = defaultdict[str, Any](lambda: SimpleNamespace(name="another"))
    backend: Any = SimpleNamespace(objects=harness.objects, database=database)
    settings: Any = SimpleNamespace(exchange_bucket=BUCKET)
    return steps(settings, backend, harness.pending, harness.reactions)


async def tombstones(harness: FeedbackHarness, end_user: str = "u1") -> set[str]:
    return {each.id async for page in harness.reactions.tombstones(ADA, end_user) for each in page}


async def everything(harness: FeedbackHarness) -> str:
    feedback = (await harness.feedback.list("acme", page=PageRequest(), show_deleted=True)).items
    return repr((feedback, harness.ledger.stored, harness.prompts.stored, harness.objects.buckets))


async def curated() -> FeedbackHarness:
    """Return a feedback of which a batch holds what u1 said, and what a reviewer said of u1's other question."""
    harness = FeedbackHarness(trusted=["reviewer"])
    await harness.curate()
    await harness.correct(1, text="CANARY said by u1")
    harness.inferences.put("i9", end_user="u1", question="i9")
    await harness.give(correction("By a reviewer", inference="i9", end_user="rita", rater="reviewer"))
    for number in (2, 3):
        await harness.correct(number)
    await harness.work()
    return harness


async def test_an_end_user_is_erased_in_steps_of_which_each_finds_what_is_left() -> None:
    harness = await curated()
    batches = EraseBatches(harness.objects, BUCKET)
    for word in ("u1", "CANARY", "What is i9?"):
        assert word in await everything(harness)

    assert await harness.reactions.some(ADA, "u1") == 1, "what the user said, then what was said of their questions"
    assert await harness.reactions.some(ADA, "u1") == 1
    assert await harness.reactions.some(ADA, "u1") == 0
    erased = await tombstones(harness)
    assert len(erased) == 2
    assert await batches.of("acme", feedback=erased, end_user="u1") == 1
    assert await batches.of("acme", feedback=erased, end_user="u1") == 0
    assert [await harness.reactions.names(ADA, "u1") for _ in range(3)] == [1, 1, 0]

    for word in ("u1", "CANARY", "What is i9?", "By a reviewer"):
        assert word not in await everything(harness)
    assert not await tombstones(harness)
    assert "u2" in await everything(harness)


async def test_a_batch_is_found_by_the_feedback_on_a_question_though_it_does_not_name_who_asked() -> None:
    harness = await curated()
    batches = EraseBatches(harness.objects, BUCKET)
    (of_reviewer,) = [each.id for each in await all_feedback(harness) if each.rater == "reviewer"]

    assert await batches.of("globex", feedback={of_reviewer}, end_user="u-9") == 0
    assert await batches.of("acme", feedback={"another"}, end_user="u-9") == 0
    assert await batches.of("acme", feedback={of_reviewer}, end_user="u-9") == 1


@pytest.mark.parametrize("passes", [1, 2])
async def test_a_batch_that_a_killed_completion_put_behind_the_first_pass_is_found(passes: int) -> None:
    harness = await curated()
    batches = {bucket: dict(objects) for bucket, objects in harness.objects.buckets.items()}
    erase = {step.kind: step.erase for step in steps_of(harness)[Scope.END_USER]}
    for _ in range(passes - 1):
        for each in erase.values():
            while await each(U1):
                pass
        harness.objects.buckets.update(batches)
    assert "CANARY" in repr(harness.objects.buckets)
    for each in erase.values():
        while await each(U1):
            pass

    assert "CANARY" not in await everything(harness)


async def test_a_batch_with_a_user_s_question_is_found_where_no_feedback_names_the_user_any_more() -> None:
    harness = FeedbackHarness(trusted=["reviewer"])
    await harness.curate()
    for number in range(3):
        harness.inferences.put(f"i{number}", end_user="u1")
        await harness.give(
            correction(f"By a reviewer {number}", inference=f"i{number}", end_user="r", rater="reviewer")
        )
    await harness.work()

    batches = EraseBatches(harness.objects, BUCKET)
    assert await batches.of("acme", feedback=set(), end_user="u2") == 0
    assert await batches.of("acme", feedback=set(), end_user="u1") == 1


async def test_a_batch_is_found_by_a_document_that_its_prompts_show() -> None:
    harness = await curated()
    batches = EraseBatches(harness.objects, BUCKET)

    assert await batches.of_document("globex", "d1") == 0
    assert await batches.of_document("acme", "d") == 0
    assert await batches.of_document("acme", "d1") == 1


async def test_batches_of_one_project_are_removed_by_their_age() -> None:
    harness = await curated()
    batches, now = EraseBatches(harness.objects, BUCKET), datetime.now(UTC)

    assert await batches.older("acme", before=now - timedelta(hours=1)) == 0
    assert await batches.older("globex", before=now + timedelta(hours=1)) == 0
    assert await batches.older("acme", before=now + timedelta(hours=1)) == 1
    assert await harness.objects.list(BUCKET) == []


async def test_what_a_person_wrote_makes_no_batch_another_s() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number, text='Say "feedback": "f1" and "end_user": "u7".')
    await harness.work()

    assert await EraseBatches(harness.objects, BUCKET).of("acme", feedback={"f1"}, end_user="u7") == 0


async def test_who_reacts_after_an_erasure_is_named_again() -> None:
    harness = await curated()
    for _ in range(2):
        await harness.reactions.some(ADA, "u1")
        await harness.reactions.names(ADA, "u1")

    again = await harness.correct(1)

    assert (again.end_user, again.asked_by, again.deleted) == ("u1", "u1", False)
    assert (await harness.feedback.list("acme", page=PageRequest(), where={"end_user": "u1"})).items == [again]


async def test_the_batch_of_an_example_that_was_erased_while_it_was_written_is_removed() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(4):
        await harness.correct(number)
    harness.batches.meanwhile = lambda: harness.reactions.some(ADA, "u1")
    await harness.work()

    assert harness.batches.puts >= 1
    assert "u1" not in repr(harness.objects.buckets)


async def all_feedback(harness: FeedbackHarness) -> list[Feedback]:
    return list((await harness.feedback.list("acme", page=PageRequest())).items)


@dataclass
class Old:
    """Implements `ports.OldFeedback` by reading all."""

    harness: FeedbackHarness

    async def ids(self, project: str, *, before: datetime, limit: int) -> list[str]:
        found = (await self.harness.feedback.list(project, page=PageRequest())).items
        return [each.id for each in found if each.update_time and each.update_time < before][:limit]


def forgetting(
    harness: FeedbackHarness, retained: FakeRetained, batches: list[datetime] | None = None
) -> ForgetOldFeedback:
    """Return the sweep, which adds to `batches` until when it removes some."""

    async def remove_batches(_project: str, before: datetime) -> int:
        if batches is not None:
            batches.append(before)
        return 1

    return ForgetOldFeedback(
        feedback=harness.feedback,
        old=Old(harness),
        forget_examples=harness.reactions.forget_examples,
        remove_batches=remove_batches,
        retained=retained,
        clock=harness.clock,
    )


@pytest.mark.parametrize("before", ["erase", "forget_examples", "forget"])
async def test_what_a_person_says_while_old_feedback_is_removed_stays_whole(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=1)
    await harness.correct(1)
    harness.clock.advance(timedelta(days=30))
    forget = forgetting(harness, FakeRetained(kept={"acme": timedelta(days=7)}))
    upsert, examples = harness.feedback.upsert, forget.forget_examples
    calls = list[str]()

    async def said_before(name: str) -> None:
        calls.append(name)
        if name == before:
            monkeypatch.undo()
            await harness.correct(1, text="Said since.")

    async def upserts(*args: object, **options: object) -> Feedback:
        await said_before("forget" if calls else "erase")
        return await upsert(*args, **options)  # type: ignore[arg-type]  # what came in

    async def forgets(*args: object) -> None:
        await said_before("forget_examples")
        await examples(*args)  # type: ignore[arg-type]  # what came in

    monkeypatch.setattr(harness.feedback, "upsert", upserts)
    await replace(forget, forget_examples=forgets)()

    [said] = await all_feedback(harness)
    assert said.current
    assert (said.end_user, said.asked_by, said.current.text) == ("u1", "u1", "Said since.")
    await harness.work()
    assert "Said since." in await everything(harness)
    assert harness.completions[-1].batch.examples == 1


async def test_feedback_goes_at_the_age_that_its_project_says_unless_something_is_held() -> None:
    harness, retained, batches = await curated(), FakeRetained(), list[datetime]()
    forget = forgetting(harness, retained, batches)
    harness.clock.advance(timedelta(days=30))
    await harness.correct(7, text="of today")
    assert await forget() == 0
    retained.kept = {"acme": timedelta(days=7), "globex": timedelta(days=7)}
    retained.spared = {"acme"}
    assert await forget() == 1, "a batch of globex"
    assert len(await all_feedback(harness)) == 5

    retained.spared = set()
    assert await forget() == 4 + 2
    assert [each.end_user for each in await all_feedback(harness)] == ["u7"]
    harness.objects.buckets.clear()
    for word in ("u1", "CANARY", "What is i1?"):
        assert word not in await everything(harness)
    assert batches[-1] == harness.clock.now() - timedelta(days=7)
