"""Which models are evicted for others, and which are refused."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.inference.tests.engines.shop import Shop, a_shop
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.memory import EngineMemory, PlacedEngine
from tidemill_inference.engines.ports import ModelVersion
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_testkit.polling import eventually


async def test_what_was_not_used_for_longest_frees_memory(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    models = [await shop.model(name, seed=seed) for seed, name in enumerate("abc")]
    async with shop.engines.use("acme", models[0]):
        one = shop.taken
    await shop.engines.stop()
    shop.reconfigure(memory_bytes=int(2.5 * one))

    for model in models:
        async with shop.engines.use("acme", model):
            pass

    assert shop.held == ["b@1", "c@1"]
    assert len(shop.memory.weights) == 2
    async with shop.engines.use("acme", models[1]), shop.engines.use("acme", models[2]):
        with pytest.raises(DependencyUnavailable, match="models that are in use or live"):
            async with shop.engines.use("acme", models[0]):
                pass
    await shop.engines.stop()


async def bases(shop: Shop) -> tuple[ModelVersion, ModelVersion]:
    return await shop.model("b"), await shop.model("c", seed=2)


async def adapters(shop: Shop) -> tuple[ModelVersion, ModelVersion]:
    base = await shop.model("base")
    return await shop.adapter("b", base), await shop.adapter("c", base, seed=2)


async def base_and_adapter(shop: Shop) -> tuple[ModelVersion, ModelVersion]:
    base = await shop.model("b")
    return base, await shop.adapter("c", base)


@pytest.mark.parametrize("made", [bases, adapters, base_and_adapter])
async def test_of_two_at_once_that_do_not_both_fit_one_is_loaded_and_the_other_refused_to_all(
    tmp_path: Path, made: Callable[[Shop], Awaitable[tuple[ModelVersion, ModelVersion]]]
) -> None:
    shop = a_shop(tmp_path)
    old, (first, second) = await shop.model("a", seed=3), await made(shop)
    async with shop.engines.use("acme", old):
        one = shop.taken
    shop.reconfigure(memory_bytes=int(1.5 * one))
    ended = asyncio.Event()

    async def requested(model: ModelVersion) -> str:
        try:
            async with shop.engines.use("acme", model):
                await ended.wait()
                return model.id
        except DependencyUnavailable as error:
            return error.dependency

    asking = [asyncio.create_task(requested(model)) for model in (first, second, first, second)]
    await eventually(lambda: sum(task.done() for task in asking) == 2)
    ended.set()

    refused, *others = sorted(Counter(await asyncio.gather(*asking)).items(), key=lambda each: each[0] != "memory")
    assert (refused, others) == (("memory", 2), [(shop.held[0], 2)])
    assert (len(shop.held), len(shop.weights_held)) == (1, 1)
    assert shop.taken <= 1.2 * one
    await shop.engines.stop()


async def test_what_is_live_is_asked_for_only_when_memory_is_short_and_nothing_leaves_while_that_is_unknown(
    tmp_path: Path,
) -> None:
    shop = a_shop(tmp_path)
    first, second = [await shop.model(name, seed=seed) for seed, name in enumerate("ab")]
    async with shop.engines.use("acme", first):
        one = shop.taken
    assert shop.live.asked == 0
    shop.reconfigure(memory_bytes=int(1.5 * one))

    shop.live.down = True
    with pytest.raises(DependencyUnavailable) as refused:
        await shop.said(second, "Hello")
    assert (refused.value.dependency, shop.held) == ("mongodb", ["a@1"])
    assert await shop.said(first, "Hello")
    shop.live.down = False
    assert await shop.said(second, "Hello")

    assert shop.held == ["b@1"]
    await shop.engines.stop()


async def test_what_would_not_fit_anyway_drops_nothing(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    busy, idle, big = [await shop.model(name, seed=seed) for seed, name in enumerate("abc")]
    async with shop.engines.use("acme", busy):
        one = shop.taken
        await shop.said(idle, "Hello")
        shop.reconfigure(memory_bytes=int(2.1 * one), limits=EngineLimits(cache_tokens=2048, batch=8))

        with pytest.raises(DependencyUnavailable, match="models that are in use or live"):
            await shop.said(big, "Hello")

        assert shop.held == ["a@1", "b@1"]
    await shop.engines.stop()


async def test_a_model_that_never_fits_is_refused(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, memory_bytes=1)

    with pytest.raises(PreconditionFailed, match="needs about"):
        async with shop.engines.use("acme", await shop.model("tiny")):
            pass


async def test_a_model_that_does_not_fit_with_its_cache_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, memory_bytes=1 << 20)  # its weights take 0.1 MB, and a cache of 8192 tokens 2 MB
    model = await shop.model("tiny")
    shop.reconfigure(limits=EngineLimits(cache_tokens=8192))

    with pytest.raises(PreconditionFailed, match="needs about 2 MB, but the limit for models is 1 MB"):
        async with shop.engines.use("acme", model):
            pass
    assert not shop.held
    assert not shop.weights_held


@pytest.mark.parametrize("numeric_format", ["float32", "bfloat16"])
async def test_a_model_that_fits_is_loaded_whatever_format_its_files_have(
    tmp_path: Path, numeric_format: NumericFormat
) -> None:
    shop = a_shop(tmp_path)
    model = await shop.model("tiny")  # its files have 32 bits
    shop.reconfigure(numeric_format=numeric_format)
    async with shop.engines.use("acme", model):
        one = shop.taken
    await shop.engines.stop()
    shop.reconfigure(memory_bytes=one)

    async with shop.engines.use("acme", model):
        assert shop.held == ["tiny@1"]
    await shop.engines.stop()


async def test_the_cache_of_a_second_model_frees_memory_too(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    first, second = [await shop.model(name, seed=seed) for seed, name in enumerate("ab")]
    async with shop.engines.use("acme", first):
        one = shop.taken
    shop.reconfigure(memory_bytes=int(1.9 * one))  # both models' weights, but one cache

    async with shop.engines.use("acme", second):
        assert shop.held == ["b@1"]
        assert shop.taken <= 1.1 * one
        with pytest.raises(DependencyUnavailable, match="models that are in use or live"):
            async with shop.engines.use("acme", first):
                pass
    await shop.engines.stop()


def placed(memory: EngineMemory, name: str, *, last_used: float, held: bool = False) -> PlacedEngine:
    """Add an engine of 10 bytes that counts as loaded."""
    engine = memory.place(ModelVersion(id=f"{name}@1", digest=name), weights_bytes=10, own_bytes=0, cache_tokens=0)
    loaded: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    loaded.set_result(object())
    engine.loading = loaded  # type: ignore[assignment] # what was loaded does not matter here
    engine.granted_bytes, engine.last_used = 0, last_used
    engine.requested_as(("acme", engine.model.id))
    engine.holders |= {("acme", "rollout")} if held else set()
    return engine


async def test_unheld_engines_are_evicted_before_held_ones_and_live_ones_only_for_live_ones() -> None:
    memory = EngineMemory(30)
    live = placed(memory, "live", last_used=0.0)
    held = placed(memory, "held", last_used=1.0, held=True)
    unheld = placed(memory, "unheld", last_used=2.0)
    new = memory.place(ModelVersion(id="new@1", digest="new"), weights_bytes=30, own_bytes=0, cache_tokens=0)
    served = frozenset({("acme", "live@1")})

    with pytest.raises(DependencyUnavailable, match="no memory for model new@1"):
        memory.evicted_for(new, served)
    new.requested_as(("acme", "new@1"))
    assert memory.evicted_for(new, served | {("acme", "new@1")}) == [unheld, held, live]
    new.weights.bytes = 10
    assert memory.evicted_for(new, served) == [unheld]
