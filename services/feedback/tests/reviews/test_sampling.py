"""Which answers become items by themselves."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import write
from services.feedback.tests.reviews.harness import OPERATOR, ReviewsHarness, answered, sampling, spec
from tidemill_core.application import Caller
from tidemill_feedback.reviews.domain.queue import ReviewQueue, SamplingStrategy
from tidemill_feedback.reviews.mongo import RecentlyFull, RecentSampledQueues
from tidemill_testkit.clocks import NOON

FEEDBACK = Caller.of_service("acme", "feedback")


@pytest.fixture
def harness() -> ReviewsHarness:
    return ReviewsHarness()


async def completed(harness: ReviewsHarness, *inferences: str, **fields: object) -> int:
    return sum([await harness.sample.completed(FEEDBACK, answered(each, **fields)) for each in inferences])


async def test_new_answers_become_items_once_until_the_queue_is_full(harness: ReviewsHarness) -> None:
    await harness.open_queue(sampling=sampling(), max_open_items=2)

    for _ in range(2):
        await completed(harness, "i1", "i2", "i3")

    items = harness.items.all()
    assert {each.subject.id for each in items} == {"i1", "i2"}
    assert {(each.reason, each.end_user, each.documents) for each in items} == {("newest", "u1", ("d1",))}


@pytest.mark.parametrize("fields", [{"live": False}, {"deployment": "other"}])
async def test_only_live_answers_of_the_deployment_are_sampled(
    harness: ReviewsHarness, fields: dict[str, object]
) -> None:
    await harness.open_queue(sampling=sampling())

    assert await completed(harness, "i1", **fields) == 0


async def test_a_paused_queue_samples_nothing(harness: ReviewsHarness) -> None:
    await harness.open_queue(sampling=sampling(), paused=True)

    assert await completed(harness, "i1") == 0


@pytest.mark.heavy
async def test_a_share_takes_always_the_same_answers(harness: ReviewsHarness) -> None:
    await harness.open_queue(sampling=sampling(SamplingStrategy.RANDOM, share=0.3))
    names = [f"i{number}" for number in range(200)]

    taken = await completed(harness, *names)
    await completed(harness, *names)

    assert 40 <= taken <= 80
    assert len(harness.items.all()) == taken


async def test_of_each_configuration_as_many_are_open_as_declared(harness: ReviewsHarness) -> None:
    await harness.open_queue(sampling=sampling(SamplingStrategy.STRATIFIED, max_open_per_stratum=2))

    await completed(harness, "i1", "i2", "i3")
    await completed(harness, "i4", stratum="c2")

    assert {each.subject.id for each in harness.items.all()} == {"i1", "i2", "i4"}


async def test_uncertain_answers_are_those_with_little_support_cut_short_or_rated_low(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue(sampling=sampling(SamplingStrategy.UNCERTAIN, support_below=0.6, rating_below=0.3))
    harness.answers.put("i5")

    await completed(harness, "i1", support=0.6)
    await completed(harness, "i2", support=0.5)
    await completed(harness, "i3", support=None)
    await completed(harness, "i4", support=None, finish_reason="length")
    for inference, value in (("i5", 0.2), ("i1", 0.3), ("unknown", 0.0)):
        await harness.sample.rated(FEEDBACK, deployment="helpdesk", inference=inference, rating=value)

    assert {each.subject.id for each in harness.items.all()} == {"i2", "i4", "i5"}


async def test_an_answer_that_is_older_than_the_erasure_of_its_user_or_document_is_not_stored(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue(sampling=sampling())
    harness.erased_until = {"u1": NOON, "d2": NOON}

    await completed(harness, "i1")
    await completed(harness, "i2", end_user="u2", documents=("d1", "d2"))
    await completed(harness, "i3", answered_at=NOON + timedelta(seconds=1))

    assert [each.subject.id for each in harness.items.all()] == ["i3"]


async def test_an_erasure_that_begins_while_an_item_is_stored_removes_it(
    harness: ReviewsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.open_queue(sampling=sampling())
    upsert = harness.items.upsert

    async def erased_meanwhile(*given: object, **how: object) -> object:
        harness.erased_until = {"u1": NOON}
        return await upsert(*given, **how)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(harness.items, "upsert", erased_meanwhile)
    await completed(harness, "i1")

    (item,) = harness.items.all()
    assert (item.deleted, item.subject.id, item.end_user) == (True, "", "")


async def test_a_removed_item_does_not_come_back_with_a_late_event(harness: ReviewsHarness) -> None:
    await harness.open_queue(sampling=sampling())
    await completed(harness, "i1")
    await harness.erase.of_end_user(FEEDBACK, "u1")

    await completed(harness, "i1")

    assert [each.deleted for each in harness.items.all()] == [True]


async def test_a_full_queue_is_counted_once_in_a_while(harness: ReviewsHarness) -> None:
    queue, moments, counted = await harness.open_queue(), [0.0], list[str]()
    await harness.give("i1", "i2")

    class Counting:
        async def open(self, project: str, key: str, *, limit: int, stratum: str = "") -> int:
            counted.append(stratum)
            return await harness.find.open(project, key, limit=limit, stratum=stratum)

    recent = RecentlyFull(Counting(), max_age_s=2, monotonic=lambda: moments[0])

    async def full(limit: int, *, stratum: str = "") -> bool:
        return await recent.open("acme", queue.key, limit=limit, stratum=stratum) >= limit

    assert [await full(2), await full(2), await full(1)] == [True, True, True]
    assert counted == [""]
    assert [await full(3), await full(3), await full(2, stratum="c1")] == [False, False, True]
    assert counted == ["", "", "", "c1"]
    moments[0] = 2.0
    assert await full(2)
    assert len(counted) == 5


async def test_an_answer_of_a_deleted_queue_leaves_nothing(harness: ReviewsHarness) -> None:
    queue = await harness.open_queue(sampling=sampling())
    await harness.crud.delete(OPERATOR, "answers", write())

    class AsBefore:
        async def of(self, project: str, deployment: str) -> list[ReviewQueue]:
            assert (project, deployment) == ("acme", "helpdesk")
            return [queue]

    late = replace(harness.sample, queues=AsBefore())
    await late.completed(FEEDBACK, answered("i1"))

    assert harness.items.all() == []


async def test_the_queues_of_a_deployment_are_read_once_in_a_while(harness: ReviewsHarness) -> None:
    moments = [0.0]
    recent = RecentSampledQueues(harness.queues, max_age_s=2, monotonic=lambda: moments[0])
    assert await recent.of("acme", "helpdesk") == []
    await harness.crud.create(OPERATOR, "answers", spec(sampling=sampling()), write())

    moments[0] = 1.9
    assert await recent.of("acme", "helpdesk") == []
    moments[0] = 2.0
    assert [each.id for each in await recent.of("acme", "helpdesk")] == ["answers"]
    assert await recent.of("other", "helpdesk") == []
