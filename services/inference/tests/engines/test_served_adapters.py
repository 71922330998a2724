"""Adapters beside their base: the same tensors, an engine each, and neither knows of the other."""

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from services.inference.tests.engines.shop import BUCKET, Shop, a_shop, inner
from services.inference.tests.tiny_model import write_tiny_adapter, write_tiny_model
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.engines.transformers import lora as lora_adapter
from tidemill_inference.engines.transformers.lora import CONFIG, WEIGHTS, LoraAdapter
from tidemill_inference.engines.transformers.weights import ModelWeights, weight_bytes
from tidemill_inference.errors import ModelRefused
from tidemill_testkit.polling import eventually

QUESTIONS = [f"What is number {number}?{'?' * number * 7}" for number in range(4)]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = a_shop(tmp_path)
    yield made
    await made.engines.stop()


def storage_of(ref: "weakref.ref[torch.nn.Parameter]") -> int:
    tensor = ref()
    return tensor.data_ptr() if tensor is not None else 0


async def evict_first(shop: Shop) -> None:
    evicted = shop.memory.engines[:1]
    shop.memory.remove(evicted)
    await shop.engines._close(evicted)  # noqa: SLF001 - as when memory is short


def merged(base: Path, adapter: Path) -> Any:  # noqa: ANN401 - a transformers model
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}], ids=str)
def test_an_adapter_computes_what_peft_merges_and_its_base_what_it_did_before(
    tmp_path: Path, settings: dict[str, bool]
) -> None:
    base = write_tiny_model(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter", base, rank=2, **settings)
    weights = ModelWeights(base, name="base@1", dtype=torch.float32)
    plain, adapted = weights.tree().eval(), weights.tree().eval()
    tokens = torch.randint(0, 200, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = plain(tokens).logits
        LoraAdapter.read(adapter, name="a@1", base="base@1").put_into(adapted, dtype=torch.float32)
        expected = merged(base, adapter)(tokens).logits

        torch.testing.assert_close(adapted.eval()(tokens).logits, expected, rtol=1e-4, atol=1e-3)
        assert torch.equal(plain(tokens).logits, before)
        assert not torch.allclose(before, expected, atol=0.1)
    assert weight_bytes(plain, adapted) <= 1.1 * weights.bytes
    assert not any(each.requires_grad for each in (*plain.parameters(), *adapted.parameters()))


async def test_models_that_are_loaded_at_the_same_time_are_built_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft and transformers replace functions of torch while they build, for every thread."""
    base = write_tiny_model(tmp_path / "base")
    adapter = LoraAdapter.read(write_tiny_adapter(tmp_path / "a", base, rank=2), name="a@1", base="base@1")
    weights = ModelWeights(base, name="base@1", dtype=torch.float32)
    meeting, met = threading.Barrier(2), list[bool]()

    def watched(build: Callable[..., Any]) -> Callable[..., Any]:
        def built(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - of either library
            try:
                meeting.wait(timeout=0.3)
            except threading.BrokenBarrierError:
                meeting.reset()
            else:
                met.append(True)
            return build(*arguments, **options)

        return built

    monkeypatch.setattr(lora_adapter, "inject_adapter_in_model", watched(inject_adapter_in_model))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched(AutoModelForCausalLM.from_pretrained))
    registers = torch.nn.Module.register_parameter

    await asyncio.gather(
        asyncio.to_thread(adapter.put_into, weights.tree(), dtype=torch.float32),
        asyncio.to_thread(adapter.put_into, weights.tree(), dtype=torch.float32),
        asyncio.to_thread(ModelWeights, base, name="base@1", dtype=torch.float32),
    )

    assert met == []
    assert torch.nn.Module.register_parameter is registers


async def test_base_and_adapters_answer_at_once_as_they_do_alone(shop: Shop) -> None:
    base = await shop.model("base")
    alone = {base.id: [await shop.said(base, each) for each in QUESTIONS]}
    adapters = [await shop.adapter(name, base, seed=seed) for seed, name in enumerate(("first", "second"))]
    for each in adapters:
        alone[each.id] = [await shop.said(each, text) for text in QUESTIONS]
    models = (base, *adapters)

    together = await asyncio.gather(
        *(asyncio.gather(*(shop.said(model, text) for text in QUESTIONS)) for model in models)
    )

    assert dict(zip(alone, together, strict=True)) == alone
    assert len({tuple(answers) for answers in alone.values()}) == 3
    assert shop.weights_held == ["base@1"]


async def test_weights_are_there_as_long_as_an_engine_stands_on_them(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("adapter", base)
    async with shop.engines.use("acme", adapter) as engine:
        tensors = [weakref.ref(each) for each in inner(engine)._model.parameters()]  # noqa: SLF001 - what is in memory
        assert (shop.held, shop.weights_held) == (["adapter@1"], ["base@1"])
    async with shop.engines.use("acme", base) as engine:
        shared = {each.data_ptr() for each in inner(engine)._model.parameters()}  # noqa: SLF001 - ditto
    del engine
    assert shared <= {storage_of(ref) for ref in tensors}

    for left in (["base@1"], []):
        await evict_first(shop)
        assert shop.weights_held == left

    # The engine's thread may still be on its way out.
    await eventually(lambda: gc.collect() >= 0 and all(ref() is None for ref in tensors))


async def test_an_adapter_that_takes_the_place_of_another_finds_the_weights_of_their_base(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    base = await shop.model("base")
    first, second = await shop.adapter("first", base), await shop.adapter("second", base, seed=2)
    assert await shop.said(first, "Hello")
    shop.reconfigure(memory_bytes=int(1.1 * shop.taken))
    (read,) = [each.loading for each in shop.memory.weights]

    assert await shop.said(second, "Hello")

    assert shop.held == ["second@1"]
    assert [each.loading for each in shop.memory.weights] == [read]
    await shop.engines.stop()


async def test_what_is_neither_used_nor_kept_leaves_after_a_while(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, idle_s=0.2)
    await shop.engines.start()
    base = await shop.model("base")
    adapter = await shop.adapter("adapter", base)
    await shop.engines.prepare("acme", adapter, holder="helpdesk")
    await shop.engines.prepare("acme", adapter, holder="sales")
    async with shop.engines.use("acme", base):
        await asyncio.sleep(0.4)
        assert sorted(shop.held) == ["adapter@1", "base@1"]
    await eventually(lambda: shop.held == ["adapter@1"])

    await shop.engines.release("acme", adapter, holder="sales")
    await asyncio.sleep(0.4)
    assert shop.held == ["adapter@1"]
    await shop.engines.release("acme", adapter, holder="helpdesk")

    await eventually(lambda: not shop.held)
    assert not shop.weights_held
    await shop.engines.release("acme", adapter, holder="helpdesk")
    assert await shop.said(adapter, "Hello")
    await shop.engines.stop()


async def test_what_is_kept_frees_memory_last(tmp_path: Path) -> None:
    shop = a_shop(tmp_path)
    kept, idle, next_one = [await shop.model(name, seed=seed) for seed, name in enumerate("abc")]
    await shop.engines.prepare("acme", kept, holder="helpdesk")
    one = shop.taken
    shop.reconfigure(memory_bytes=int(2.5 * one))
    for model in (idle, next_one):
        async with shop.engines.use("acme", model):
            pass

    assert shop.held == ["a@1", "c@1"]
    await shop.engines.stop()


async def test_what_answers_live_stays_and_leaves_for_what_answers_live_only(tmp_path: Path) -> None:
    shop = a_shop(tmp_path, idle_s=0.05)
    live, candidate, other = [await shop.model(name, seed=seed) for seed, name in enumerate("abc")]
    async with shop.engines.use("acme", live):
        one = shop.taken
    shop.reconfigure(memory_bytes=int(1.5 * one))
    shop.live.now = {("acme", "a@1")}
    await shop.engines.start()

    with pytest.raises(DependencyUnavailable, match="in use or live"):
        await shop.engines.prepare("acme", candidate, holder="rollout")
    await asyncio.sleep(0.2)
    assert shop.held == ["a@1"]
    shop.live.now = {("acme", "a@1"), ("acme", "c@1")}
    async with shop.engines.use("acme", other):
        assert shop.held == ["c@1"]
    shop.live.down, shop.live.now = True, set()
    await asyncio.sleep(0.2)
    assert shop.held == ["c@1"]
    shop.live.down = False

    await eventually(lambda: not shop.held)
    await shop.engines.stop()


async def test_one_project_loads_again_what_is_gone_for_another_under_another_name(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("adapter", base)
    async with shop.engines.use("acme", adapter) as engine:
        await asyncio.to_thread(inner(engine).close)
        first = inner(engine)
    theirs = await shop.stored("theirs", shop.folder / "base", project="globex")
    tuned = replace(await shop.stored("tuned", shop.folder / "adapter", project="globex"), base=theirs)

    async with shop.engines.use("globex", tuned) as engine:
        assert inner(engine) is not first
        assert inner(engine).alive


async def test_a_caller_who_leaves_does_not_end_the_load(shop: Shop) -> None:
    model = await shop.model("base")

    async def ask() -> None:
        async with shop.engines.use("acme", model):
            pass

    asking = asyncio.create_task(ask())
    await eventually(lambda: shop.held == ["base@1"])
    asking.cancel()

    await eventually(lambda: all(each.engine for each in shop.memory.engines))
    assert shop.held == ["base@1"]


async def test_both_manifests_are_verified_before_anything_is_loaded(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("adapter", base)
    for broken, name in ((base, "config.json"), (adapter, WEIGHTS)):
        key = broken.files[name].key
        good = shop.objects.buckets[BUCKET][key]
        shop.objects.buckets[BUCKET][key] = b"x" * len(good)
        with pytest.raises(ModelRefused, match=f"{broken.id} is refused: {name} is damaged"):
            await shop.said(adapter, "Hello")
        assert not shop.held
        assert not shop.weights_held
        shop.objects.buckets[BUCKET][key] = good


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"peft_type": "LOHA"}, "peft_type LORA"),
        ({"target_modules": "(.*)+x"}, "plain names"),
        ({"target_modules": ["q_proj", "(.*)+x"]}, "plain names"),
        ({"target_modules": ["no_such"]}, "not those of its base"),
        ({"target_modules": ["q_proj"]}, "not those of its base"),
        ({"r": 10**9}, "use 1 to 512"),
        ({"r": 8}, "not those of its base"),
        ({"lora_alpha": "x"}, "no number"),
        ({"rank_pattern": {"(.*)+": 8}}, "sets rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
        ({"auto_mapping": {"base_model_class": "Evil"}}, "sets auto_mapping"),
        ({"init_lora_weights": "pissa"}, "sets init_lora_weights"),
        ({"something_new": 1}, "sets something_new"),
        ({"base_model_name_or_path": "other@1"}, "another base"),
    ],
)
def test_an_adapter_that_says_more_than_is_served_is_refused(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    base = write_tiny_model(tmp_path / "base")
    folder = write_tiny_adapter(tmp_path / "adapter", base)
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**said, **changes}))
    tree = ModelWeights(base, name="base@1", dtype=torch.float32).tree()

    began = time.thread_time()
    with pytest.raises(ModelRefused, match=f"adapter@1 is refused.*{why}"):
        LoraAdapter.read(folder, name="adapter@1", base="base@1").put_into(tree, dtype=torch.float32)
    assert time.thread_time() - began < 5


def test_small_magnitudes_count_in_bfloat16(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    folder = write_tiny_adapter(tmp_path / "adapter", base, use_dora=True)
    weights = load_file(folder / WEIGHTS)
    scale = 1.002  # which bfloat16 rounds to 1, as it does most of what is scaled by it
    for key, stored in load_file(base / "model.safetensors").items():
        adapted = f"base_model.model.{key.removesuffix('.weight')}"
        if f"{adapted}.lora_magnitude_vector" in weights:
            weights[f"{adapted}.lora_B.weight"].zero_()
            weights[f"{adapted}.lora_magnitude_vector"] = scale * stored.float().norm(dim=1)
    save_file(weights, folder / WEIGHTS)
    trees = [ModelWeights(base, name="base@1", dtype=torch.bfloat16).tree() for _ in range(2)]
    LoraAdapter.read(folder, name="a@1", base="base@1").put_into(trees[1], dtype=torch.bfloat16)
    name = next(name for name, each in trees[1].named_modules() if isinstance(each, LoraLayer))

    given = torch.randn(64, trees[0].get_submodule(name).in_features, dtype=torch.bfloat16)
    plain, scaled = (tree.get_submodule(name)(given).float() for tree in trees)

    assert 1.0003 < (scaled * plain).sum() / (plain * plain).sum() <= scale


@pytest.mark.parametrize("kept", [0, 1], ids=["no magnitude", "one magnitude"])
def test_an_adapter_that_lacks_magnitudes_is_refused(tmp_path: Path, kept: int) -> None:
    base = write_tiny_model(tmp_path / "base")
    folder = write_tiny_adapter(tmp_path / "adapter", base, use_dora=True)
    weights = load_file(folder / WEIGHTS)
    for key in [key for key in weights if "lora_magnitude" in key][kept:]:
        del weights[key]
    save_file(weights, folder / WEIGHTS)
    tree = ModelWeights(base, name="base@1", dtype=torch.float32).tree()

    with pytest.raises(ModelRefused, match=r"adapter@1 is refused.*(use_dora|not those of its base)"):
        LoraAdapter.read(folder, name="adapter@1", base="base@1").put_into(tree, dtype=torch.float32)


def test_an_adapter_that_diverged_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_adapter(tmp_path / "adapter", write_tiny_model(tmp_path / "base"))
    weights = load_file(folder / WEIGHTS)
    next(iter(weights.values()))[0, 0] = torch.nan
    save_file(weights, folder / WEIGHTS)

    with pytest.raises(ModelRefused, match="NaN or infinite"):
        LoraAdapter.read(folder, name="adapter@1", base="base@1")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_an_adapter_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_tiny_adapter(tmp_path / "adapter", write_tiny_model(tmp_path / "base"))
    (folder / name).write_bytes(b"{broken")

    with pytest.raises(ModelRefused, match="cannot be read"):
        LoraAdapter.read(folder, name="adapter@1", base="base@1")
