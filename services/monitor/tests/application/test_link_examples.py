import pytest

from services.monitor.tests.fakes import Monitor, updates_of
from services.monitor.tests.story import Story
from tidemill_core.errors import DependencyUnavailable, NotFound, TidemillError
from tidemill_monitor.application.ports import BatchName
from tidemill_monitor.domain.errors import BatchLost, BatchUnusable
from tidemill_monitor.domain.graph import ExampleIds

BATCH = BatchName("acme", "helpdesk_sft@1")


async def with_a_batch(monitor: Monitor) -> None:
    story = Story()
    story.curate(seq=1, examples=[("fb-1", "inf-1"), ("fb-2", "inf-2")])
    for event in story.events:
        await monitor.record("acme", event.meta, event.body)
    monitor.examples.by_key |= story.batches


async def test_examples_lead_back_to_reactions_and_answers_that_were_never_received() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)

    assert await monitor.link(BATCH)

    lineage = await monitor.lineage("curation", "helpdesk_sft@1")
    assert updates_of(lineage) == {
        "curation": ["helpdesk_sft@1"],
        "deployment": ["helpdesk"],
        "feedback": ["fb-1", "fb-2"],
        "inference": ["inf-1", "inf-2"],
    }
    assert lineage.nodes[0].facts["linked"] == "2"
    assert await monitor.batches.waiting() == []


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(NotFound("gone"), "ERASED"), (BatchUnusable("c", "line 3 is no example"), "BATCH_UNUSABLE")],
    ids=["erased", "unusable"],
)
async def test_examples_that_can_never_be_read_are_finished_and_say_why(failure: TidemillError, reason: str) -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.examples.failure = failure

    assert await monitor.link(BATCH)

    assert monitor.batches.finished == {BATCH: reason}
    node = (await monitor.lineage("curation", "helpdesk_sft@1")).nodes[0]
    assert (node.facts["linked"], node.facts["unread"]) == ("0", reason)


async def test_a_store_that_is_down_leaves_the_batch_for_later() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.examples.failure = DependencyUnavailable("down", dependency="s3")
    with pytest.raises(DependencyUnavailable):
        await monitor.link(BATCH)
    monitor.examples.failure = None

    assert await monitor.link(BATCH)
    assert monitor.batches.finished == {BATCH: ""}


async def test_a_batch_that_another_worker_reads_is_left_to_them() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.batches.taken_by_others.add(BATCH)

    assert not await monitor.link(BATCH)


async def test_a_worker_that_was_overtaken_finishes_nothing() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)

    async with monitor.batches.held(BATCH) as held:
        assert held is not None
        monitor.batches.steal(BATCH)
        with pytest.raises(BatchLost):
            await monitor.batches.finish(held, reason="")

    assert await monitor.batches.waiting() == [BATCH]


async def test_a_batch_that_is_read_twice_links_nothing_twice() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    await monitor.link(BATCH)
    before = await monitor.lineage("curation", "helpdesk_sft@1")
    monitor.batches.finished.clear()
    monitor.examples.by_key = {key: [*ids, ExampleIds("fb-1", "inf-1")] for key, ids in monitor.examples.by_key.items()}

    await monitor.link(BATCH)

    again = await monitor.lineage("curation", "helpdesk_sft@1")
    assert (again.edges, again.folded) == (before.edges, before.folded)
