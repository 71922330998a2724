import pytest

from services.monitor.tests.fakes import Monitor, shown_ids
from services.monitor.tests.story import Story
from tidemill_core.application import ResourceKey
from tidemill_core.errors import DependencyUnavailable, NotFound, TidemillError
from tidemill_kit.workers.leases import LeaseLost
from tidemill_monitor.errors import BatchUnusable
from tidemill_monitor.examples.domain import ExampleIds

BATCH = ResourceKey(project="acme", id="helpdesk_sft@1")


async def with_a_batch(monitor: Monitor) -> None:
    story = Story()
    story.curate(seq=1, examples=[("fb-1", "inf-1"), ("fb-2", "inf-2")])
    for event in story.events:
        await monitor.handle(event)
    monitor.examples.by_key |= story.batches


async def test_examples_lead_back_to_reactions_and_answers_that_were_never_received() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)

    await monitor.link(BATCH, epoch=0)

    lineage = await monitor.lineage("curation", "helpdesk_sft@1")
    assert shown_ids(lineage) == {
        "curation": ["helpdesk_sft@1"],
        "deployment": ["helpdesk"],
        "feedback": ["fb-1", "fb-2"],
        "inference": ["inf-1", "inf-2"],
    }
    assert lineage.nodes[0].facts["linked"] == 2
    assert monitor.batches.unfinished() == []


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(NotFound("gone"), "ERASED"), (BatchUnusable("c", "line 3 is no example"), "BATCH_UNUSABLE")],
    ids=["erased", "unusable"],
)
async def test_examples_that_can_never_be_read_are_finished_and_say_why(failure: TidemillError, reason: str) -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.examples.failure = failure

    await monitor.link(BATCH, epoch=0)

    assert monitor.batches.finished == {BATCH: reason}
    node = (await monitor.lineage("curation", "helpdesk_sft@1")).nodes[0]
    assert (node.facts["linked"], node.facts["unread"]) == (0, reason)


async def test_a_store_that_is_down_leaves_the_batch_for_later() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.examples.failure = DependencyUnavailable("down", dependency="s3")
    with pytest.raises(DependencyUnavailable):
        await monitor.link(BATCH, epoch=0)
    monitor.examples.failure = None

    await monitor.link(BATCH, epoch=0)
    assert monitor.batches.finished == {BATCH: ""}


async def test_a_worker_that_was_overtaken_finishes_nothing() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    monitor.batches.epochs[BATCH] = 2

    with pytest.raises(LeaseLost):
        await monitor.link(BATCH, epoch=1)

    assert monitor.batches.unfinished() == [BATCH]


async def test_a_batch_that_is_read_twice_links_nothing_twice() -> None:
    monitor = Monitor()
    await with_a_batch(monitor)
    await monitor.link(BATCH, epoch=0)
    before = await monitor.lineage("curation", "helpdesk_sft@1")
    monitor.batches.finished.clear()
    monitor.examples.by_key = {key: [*ids, ExampleIds("fb-1", "inf-1")] for key, ids in monitor.examples.by_key.items()}

    await monitor.link(BATCH, epoch=0)

    again = await monitor.lineage("curation", "helpdesk_sft@1")
    assert (again.edges, again.folded) == (before.edges, before.folded)
