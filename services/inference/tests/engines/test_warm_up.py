"""Work beside the requests: what goes wrong with one model is nothing to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.inference.tests.fakes import Registry, ScriptedEngine, ScriptedEngines
from tidemill_inference.engines.ports import Engine, ModelVersion
from tidemill_inference.engines.warm_up import WarmUp
from tidemill_testkit.polling import eventually


class Fragile(ScriptedEngines):
    """Breaks on some models in unforeseen ways."""

    def __init__(self, **engines: ScriptedEngine) -> None:
        super().__init__(**engines)
        self.loaded: list[str] = []

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        async with super().use(project, model) as engine:
            self.loaded.append(model.id)
            yield engine


async def test_a_model_that_breaks_while_it_is_loaded_does_not_keep_the_next_from_it() -> None:
    engines = Fragile(good=ScriptedEngine())
    warm_up = WarmUp(Registry(broken=1, good=1), engines)
    running = asyncio.create_task(warm_up.run())

    warm_up.preload("acme", "broken@1")  # has no engine: a KeyError
    warm_up.preload("acme", "good@1")

    await eventually(lambda: engines.loaded == ["good@1"])
    running.cancel()
    await asyncio.wait([running])


async def test_what_the_last_process_had_loaded_is_loaded_before_the_first_question() -> None:
    engines = Fragile(late=ScriptedEngine(), early=ScriptedEngine())
    before = [("acme", "early@1", ""), ("acme", "late@1", "")]
    warm_up = WarmUp(Registry(late=1, early=1), engines, first=lambda: before)
    running = asyncio.create_task(warm_up.run())

    await eventually(lambda: engines.loaded == ["early@1", "late@1"])
    running.cancel()
    await asyncio.wait([running])
