import pytest

from services.monitor.tests.fakes import Monitor
from services.monitor.tests.story import Story
from tidemill_core.application import ResourceKey
from tidemill_core.errors import PermissionDenied


async def test_a_completed_curation_has_its_batch_read_once() -> None:
    monitor, story = Monitor(), Story()
    story.curate(seq=3, examples=[("fb-1", "inf-1")])
    (event,) = story.events
    for _ in range(2):
        await monitor.handle(event)

    assert monitor.enqueued == [ResourceKey(project="acme", id="helpdesk_sft@3")]


async def test_a_batch_of_another_project_is_refused_and_never_read() -> None:
    monitor, story = Monitor(), Story()
    story.curate(seq=1, examples=[], project="other")
    (event,) = story.events

    with pytest.raises(PermissionDenied):
        await monitor.handle(event)

    assert monitor.batches.recorded == {}
