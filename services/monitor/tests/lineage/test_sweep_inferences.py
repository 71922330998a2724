from datetime import timedelta

from services.monitor.tests.fakes import Monitor, shown_ids
from services.monitor.tests.story import Story, a_turn


async def test_only_old_answers_without_a_reaction_are_forgotten() -> None:
    monitor = Monitor()
    await monitor.consume(a_turn())
    monitor.clock.advance(timedelta(days=31))
    young = Story(now=monitor.clock.now())
    young.answer("young-1")
    await monitor.consume(young)

    assert await monitor.sweep(days=30) == 3

    left = shown_ids(await monitor.lineage("prompt_version", "answer@2", "forward", depth=1))
    assert left["inference"] == ["inf-000", "inf-001", "inf-002", "young-1"]
    assert await monitor.sweep(days=30) == 0
