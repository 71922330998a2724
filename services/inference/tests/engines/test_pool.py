import asyncio
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from services.inference.tests.engines.shop import BUCKET, Shop, a_shop, inner
from services.inference.tests.tiny_model import add_file, write_tiny_model
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.models.manifest import Manifest
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.ports import ModelVersion, Prompt, RemoteModel
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.errors import ModelRefused
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_kit.erasure.steps import NotYet
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


async def test_a_shared_engine_makes_the_prompts_of_each_project_in_its_own_turns(shop: Shop) -> None:
    mine, theirs = await shop.model("tiny"), await shop.model("other", project="globex")
    turns = []
    for project, model in (("acme", mine), ("globex", theirs)):
        async with shop.engines.use(project, model) as engine:
            shop.chat.projects.clear()
            await engine.count_tokens(Prompt(messages=(Message.of(Role.USER, f"I am {project}"),)))
            turns.append(set(shop.chat.projects))

    assert turns == [{"acme"}, {"globex"}]


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
    shop.reconfigure(before=before)
    for seed, name in enumerate("ab"):
        async with shop.engines.use("acme", await shop.model(name, seed=seed)):
            pass
    await shop.engines.stop()

    assert before.read() == [("acme", "b@1", "transformers"), ("acme", "a@1", "transformers")]


def test_a_list_from_before_engines_were_named_is_read(tmp_path: Path) -> None:
    (tmp_path / "loaded.json").write_text('[["acme", "a@1"]]')

    assert LoadedBefore(tmp_path / "loaded.json").read() == [("acme", "a@1", "")]


@pytest.mark.parametrize("broken", ["", "{", '[["acme"]]', '{"acme": 1}', "7"])
def test_a_broken_list_of_what_was_loaded_counts_as_none(tmp_path: Path, broken: str) -> None:
    (tmp_path / "loaded.json").write_text(broken)

    assert LoadedBefore(tmp_path / "loaded.json").read() == []


def test_a_process_is_put_together_without_what_loads_models() -> None:
    program = "import sys, tidemill_inference.app; print(sorted({'peft', 'torch', 'transformers'} & set(sys.modules)))"

    reported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours

    assert reported.stdout.strip() == "[]"


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
        asked = Prompt(messages=(Message.of(Role.USER, "a kestrel"),), sampling=Sampling(max_output_tokens=5))
        async for _ in engine.generate(asked, timeout_s=30):
            pass

    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"project": "acme", "model": "measured@1", **labels})

    assert value("tidemill_model_calls_total", outcome="length") == 1
    assert value("tidemill_model_tokens_total", kind="output") == 5
    assert value("tidemill_model_running") == 0
    assert "kestrel" not in generate_latest().decode()


async def test_a_deleted_project_leaves_no_model_and_takes_none_of_others(shop: Shop) -> None:
    mine, both = await shop.model("mine", seed=7), await shop.model("tiny")
    theirs = await shop.model("other", project="globex")
    for project, model in (("acme", mine), ("acme", both), ("globex", theirs)):
        async with shop.engines.use(project, model):
            pass
    await shop.engines.prepare("acme", both, holder="rollout")

    async with shop.engines.use("acme", mine):
        with pytest.raises(NotYet):
            await shop.engines.forget("acme")
    assert await shop.engines.forget("acme") == 1
    assert shop.engines.projects == {"globex"}
    assert await shop.engines.forget("acme") == 0
    async with shop.engines.use("globex", theirs) as engine:
        assert inner(engine).alive
    assert await shop.engines.forget("globex") == 1
    assert shop.engines.projects == set()


async def test_a_model_that_a_deleted_project_shared_is_unloaded(shop: Shop) -> None:
    shared = replace(await shop.model("tiny"), owner="acme")
    async with shop.engines.use("globex", shared):
        pass

    assert shop.engines.projects == {"acme", "globex"}
    assert await shop.engines.forget("acme") == 1
    assert shop.engines.projects == set()


def test_a_deleted_project_is_not_among_what_the_next_process_loads_first(tmp_path: Path) -> None:
    before = LoadedBefore(tmp_path / "loaded.json")
    before.write([("acme", "a@1", ""), ("globex", "acme/a@1", ""), ("globex", "b@1", "vllm")])

    before.forget("acme")

    assert before.read() == [("globex", "b@1", "vllm")]
