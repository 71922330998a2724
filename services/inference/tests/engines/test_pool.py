import asyncio
import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from services.inference.tests.engines.shop import BUCKET, ChatHere, Shop, a_shop, inner
from services.inference.tests.tiny_model import add_file, write_tiny_model
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_core.models.manifest import Manifest
from tidemill_inference.deployments.domain.deployment import Sampling
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.pool import EngineOptions
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.errors import ModelRefused, SecretMissing
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_testkit.polling import eventually


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = a_shop(tmp_path)
    yield made
    await made.engines.stop()


async def test_a_model_is_loaded_once_for_all_who_ask_and_in_all_projects(shop: Shop) -> None:
    mine, theirs = await shop.model("tiny"), await shop.model("other", project="globex")

    async def fingerprint(project: str, model: ModelVersion) -> int:
        async with shop.engines.use(project, model) as engine:
            return id(inner(engine))

    loaded = await asyncio.gather(
        *(fingerprint("acme", mine) for _ in range(5)), *(fingerprint("globex", theirs) for _ in range(5))
    )

    assert len(set(loaded)) == 1


async def test_the_first_load_is_reported_by_the_probe(shop: Shop) -> None:
    await shop.engines.probe()
    model = await shop.model("tiny")

    async def load() -> None:
        async with shop.engines.use("acme", model):
            pass

    loading = asyncio.create_task(load())
    reported = ""
    for _ in range(1000):
        try:
            await shop.engines.probe()
        except DependencyUnavailable as error:
            reported = error.message
            break
        await asyncio.sleep(0)
    await loading

    assert reported.startswith("loading tiny@1 (")
    await shop.engines.probe()


async def test_the_next_process_gets_what_was_loaded_the_last_used_first(tmp_path: Path) -> None:
    shop, before = a_shop(tmp_path), LoadedBefore(tmp_path / "loaded.json")
    shop.engines._options = replace(shop.engines._options, before=before)  # noqa: SLF001 - told nowhere else
    for seed, name in enumerate("ab"):
        async with shop.engines.use("acme", await shop.model(name, seed=seed)):
            pass
    await shop.engines.stop()

    assert before.read() == [("acme", "b@1"), ("acme", "a@1")]


@pytest.mark.parametrize("broken", ["", "{", '[["acme"]]', '{"acme": 1}', "7"])
def test_a_broken_list_of_what_was_loaded_counts_as_none(tmp_path: Path, broken: str) -> None:
    (tmp_path / "loaded.json").write_text(broken)

    assert LoadedBefore(tmp_path / "loaded.json").read() == []


def test_a_process_is_put_together_without_what_loads_models() -> None:
    program = "import sys, tidemill_inference.app; print(sorted({'peft', 'torch', 'transformers'} & set(sys.modules)))"

    reported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours

    assert reported.stdout.strip() == "[]"


async def test_what_was_not_used_for_longest_frees_memory(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    models = [await shop.model(name, seed=seed) for seed, name in enumerate("abc")]
    async with shop.engines.use("acme", models[0]):
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
    await shop.engines.stop()
    shop.engines._options = EngineOptions(  # noqa: SLF001 - room for two
        numeric_format="float32",
        memory_bytes=int(2.5 * one),
        limits=EngineLimits(cache_tokens=1024, batch=8),
        run_chat=ChatHere(),
    )

    for model in models:
        async with shop.engines.use("acme", model):
            pass

    assert shop.held == ["b@1", "c@1"]
    assert len(shop.engines._bases) == 2  # noqa: SLF001 - nothing is kept of what left
    async with shop.engines.use("acme", models[1]), shop.engines.use("acme", models[2]):
        with pytest.raises(DependencyUnavailable, match="used up by others in use"):
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
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
    shop.engines._options = replace(shop.engines._options, memory_bytes=int(1.5 * one))  # noqa: SLF001 - room for one
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
    assert shop.engines._taken() <= 1.2 * one  # noqa: SLF001 - ditto
    await shop.engines.stop()


async def test_what_is_live_is_asked_for_only_when_memory_is_short_and_nothing_leaves_while_that_is_unknown(
    tmp_path: Path,
) -> None:
    shop = a_shop(tmp_path)
    first, second = [await shop.model(name, seed=seed) for seed, name in enumerate("ab")]
    async with shop.engines.use("acme", first):
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
    assert shop.live.asked == 0
    shop.engines._options = replace(shop.engines._options, memory_bytes=int(1.5 * one))  # noqa: SLF001 - room for one

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
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
        await shop.said(idle, "Hello")
        options = shop.engines._options  # noqa: SLF001 - room for both, and for a big one alone
        limits = EngineLimits(cache_tokens=2048, batch=8)
        shop.engines._options = replace(options, memory_bytes=int(2.1 * one), limits=limits)  # noqa: SLF001 - ditto

        with pytest.raises(DependencyUnavailable, match="used up by others in use"):
            await shop.said(big, "Hello")

        assert shop.held == ["a@1", "b@1"]
    await shop.engines.stop()


async def test_what_was_leaving_when_the_service_stops_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, gate, found = a_shop(tmp_path, idle_s=0.05), threading.Event(), []
    for seed, name in enumerate("ab"):
        async with shop.engines.use("acme", await shop.model(name, seed=seed)) as engine:
            found.append(inner(engine))
    close = TransformersEngine.close

    def late(engine: TransformersEngine) -> None:
        gate.wait()
        close(engine)

    monkeypatch.setattr(TransformersEngine, "close", late)
    await asyncio.sleep(0.1)  # both have been idle for long enough
    await shop.engines.start()
    try:
        await eventually(lambda: not shop.held)
        await shop.engines.stop()
    finally:
        gate.set()

    await eventually(lambda: not any(engine.alive for engine in found))


async def test_a_model_that_never_fits_is_refused(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, memory_bytes=1)

    with pytest.raises(PreconditionFailed, match="needs about"):
        async with shop.engines.use("acme", await shop.model("tiny")):
            pass


async def test_a_model_that_does_not_fit_with_its_cache_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, memory_bytes=1 << 20)  # its weights take 0.1 MB, and a cache of 8192 tokens 2 MB
    model = await shop.model("tiny")
    shop.engines._options = EngineOptions(  # noqa: SLF001 - a longer cache
        run_chat=ChatHere(),
        numeric_format="float32",
        memory_bytes=1 << 20,
        limits=EngineLimits(cache_tokens=8192),
    )

    with pytest.raises(PreconditionFailed, match="needs about 2 MB, and 1 MB are for models here"):
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
    options = replace(shop.engines._options, numeric_format=numeric_format)  # noqa: SLF001 - told nowhere else
    shop.engines._options = options  # noqa: SLF001 - ditto
    async with shop.engines.use("acme", model):
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
    await shop.engines.stop()
    shop.engines._options = replace(options, memory_bytes=one)  # noqa: SLF001 - room for just that

    async with shop.engines.use("acme", model):
        assert shop.held == ["tiny@1"]
    await shop.engines.stop()


async def test_the_cache_of_a_second_model_frees_memory_too(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    first, second = [await shop.model(name, seed=seed) for seed, name in enumerate("ab")]
    async with shop.engines.use("acme", first):
        one = shop.engines._taken()  # noqa: SLF001 - weights and cache
    options = shop.engines._options  # noqa: SLF001 - room for both models' weights, but for one cache only
    shop.engines._options = replace(options, memory_bytes=int(1.9 * one))  # noqa: SLF001 - ditto

    async with shop.engines.use("acme", second):
        assert shop.held == ["b@1"]
        assert shop.engines._taken() <= 1.1 * one  # noqa: SLF001 - ditto
        with pytest.raises(DependencyUnavailable, match="used up by others in use"):
            async with shop.engines.use("acme", first):
                pass
    await shop.engines.stop()


async def test_a_damaged_missing_or_added_file_is_refused_by_name(shop: Shop) -> None:
    model = await shop.model("tiny")
    config = model.files["config.json"]
    good = shop.objects.buckets[BUCKET][config.key]
    for broken, why in ((b"x" * config.size, "config.json is damaged"), (None, "config.json is not in the store")):
        if broken is None:
            del shop.objects.buckets[BUCKET][config.key]
        else:
            shop.objects.buckets[BUCKET][config.key] = broken
        with pytest.raises(ModelRefused, match=why):
            async with shop.engines.use("acme", model):
                pass
    shop.objects.buckets[BUCKET][config.key] = good
    async with shop.engines.use("acme", model):
        pass
    await shop.engines.stop()
    added = shop.folder / "cache" / "acme" / model.digest / "added.json"
    added.write_text("{}")

    with pytest.raises(ModelRefused, match=r"added\.json: is not in the manifest"):
        async with shop.engines.use("acme", model):
            pass


async def test_a_loaded_model_is_verified_again_when_it_is_asked_for(shop: Shop) -> None:
    model = await shop.model("tiny")
    async with shop.engines.use("acme", model):
        await shop.engines.verify("acme", model)
        config = shop.folder / "cache" / "acme" / model.digest / "config.json"
        config.write_bytes(b"x" * config.stat().st_size)

        with pytest.raises(ModelRefused, match=r"config\.json"):
            await shop.engines.verify("acme", model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling_tiny.py"])
async def test_what_could_run_is_refused_before_it_is_fetched(shop: Shop, name: str) -> None:
    model = await shop.model("tiny")
    some = model.files["config.json"]
    bad = ModelVersion(id=model.id, digest="bad", files={**model.files, name: some})

    with pytest.raises(ModelRefused, match=name):
        async with shop.engines.use("acme", bad):
            pass


async def test_a_config_that_names_code_is_refused(shop: Shop) -> None:
    folder = shop.folder / "coded"
    await asyncio.to_thread(write_tiny_model, folder)
    model = await shop.stored("coded", folder)
    add_file(folder, "config.json", {"auto_map": {"AutoModel": "evil.Model"}})
    data = (folder / "config.json").read_bytes()
    with pytest.raises(Exception, match="auto_map"):
        Manifest.from_folder(folder)
    key = "acme/coded/evil"
    evil = ObjectRef(bucket=BUCKET, key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    shop.objects.buckets[BUCKET][key] = data

    with pytest.raises(ModelRefused, match=r"config\.json"):
        async with shop.engines.use(
            "acme", ModelVersion(id="coded@1", digest="x", files={**model.files, "config.json": evil})
        ):
            pass


@pytest.mark.parametrize("hidden_size", ["abc", 64])
async def test_a_model_whose_config_is_wrong_or_of_other_weights_is_refused(shop: Shop, hidden_size: object) -> None:
    folder = shop.folder / "wrong"
    await asyncio.to_thread(write_tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    add_file(folder, "config.json", {**config, "hidden_size": hidden_size})

    with pytest.raises(ModelRefused, match=r"wrong@1 is refused: config.json: "):
        async with shop.engines.use("acme", await shop.stored("wrong", folder)):
            pass


async def test_a_remote_model_needs_the_secret_that_it_names(shop: Shop) -> None:
    address = RemoteModel(model="gpt", base_url="https://api.example/v1", secret="KEY")  # noqa: S106 - a name
    model = ModelVersion(id="gpt@1", digest="d", remote=address)

    with pytest.raises(SecretMissing, match="INFERENCE_SECRET_ACME__KEY"):
        await shop.engines.prepare("acme", model, holder="helpdesk")
    with pytest.raises(SecretMissing, match="INFERENCE_SECRET_ACME__KEY"):
        async with shop.engines.use("acme", model):
            pass


async def test_an_engine_whose_thread_died_is_loaded_again(shop: Shop) -> None:
    model = await shop.model("tiny")
    async with shop.engines.use("acme", model) as engine:
        first = inner(engine)
        await asyncio.to_thread(first.close)

    await eventually(lambda: not first.alive)
    async with shop.engines.use("acme", model) as engine:
        assert inner(engine) is not first


async def test_a_call_is_measured_and_its_text_is_not(shop: Shop) -> None:
    model = await shop.model("measured")

    async with shop.engines.use("acme", model) as engine:
        asked = [Message.of(Role.USER, "a kestrel")]
        async for _ in engine.generate(asked, Sampling(max_output_tokens=5), timeout_s=30):
            pass

    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"project": "acme", "model": "measured@1", **labels})

    assert value("tidemill_model_calls_total", outcome="length") == 1
    assert value("tidemill_model_tokens_total", kind="output") == 5
    assert value("tidemill_model_running") == 0
    assert "kestrel" not in generate_latest().decode()
