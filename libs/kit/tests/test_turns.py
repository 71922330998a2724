"""Whose turn it is at places that all projects share."""

import asyncio

from tidemill_kit.turns import Turns


async def test_projects_take_turns_at_one_place_however_much_one_has_to_do() -> None:
    turns, served = Turns(1), list[str]()

    async def work(project: str) -> None:
        async with turns.of(project):
            await asyncio.sleep(0)
            served.append(project)

    async with asyncio.TaskGroup() as tasks:
        for project in [*(["busy"] * 150), "small", "other"]:
            tasks.create_task(work(project))
        await asyncio.sleep(0)  # each has asked for its place, and the first has one
        assert turns.crowded == {"busy"}

    assert len(served) == 152
    assert {"small", "other"} <= set(served[:8])
    assert turns.crowded == frozenset()
