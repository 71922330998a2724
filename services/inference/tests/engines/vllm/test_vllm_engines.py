"""The pool with models in vLLM: a base and its adapters on one server. vLLM is a small server of the tests."""

import asyncio
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.inference.tests.engines.shop import MB, Shop
from services.inference.tests.engines.vllm.served import base_of, crash, pid_of
from services.inference.tests.engines.vllm.test_server import FAKE, WITHIN_S
from services.inference.tests.tiny_model import TOOL_TEMPLATE, write_tiny_model
from tidemill_core.errors import DependencyUnavailable, InvalidInput, PreconditionFailed
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.chat_prompts import ChatPrompts
from tidemill_inference.engines.ports import Finish, ModelVersion, Prompt
from tidemill_inference.engines.vllm import engine as vllm_engine
from tidemill_inference.engines.vllm import options as vllm_options
from tidemill_inference.engines.vllm import server as servers
from tidemill_inference.engines.vllm.client import VllmClient
from tidemill_inference.engines.vllm.process import _free_port
from tidemill_inference.engines.vllm.server import VllmServer
from tidemill_inference.errors import ModelRefused, ServerEnded
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.tools import Tool, ToolChoice, ToolMode
from tidemill_kit.erasure.steps import NotYet
from tidemill_testkit.polling import eventually


async def test_a_base_and_its_adapters_are_one_server(shop: Shop) -> None:
    base = await shop.model("base")
    adapters = [await shop.adapter(name, base, seed=seed) for seed, name in enumerate("ab")]

    said = [await shop.said(each, "Hi", tokens=4) for each in (base, *adapters)]

    assert said[0] == said[0].lower()
    assert said[1:] == [said[0].upper()] * 2
    assert len(said[0]) == 4
    assert len(shop.memory.weights) == 1
    assert shop.memory.taken_bytes() < 1.2 * sum(ref.size for ref in base.files.values()) + MB

    client = base_of(shop).server.client()
    names = [each.id for each in await client.models() if each.parent]
    for name in names:  # as another replica does for which they are idle
        await client.unload_adapter(name)
    assert [await shop.said(each, "Hi", tokens=4) for each in adapters] == said[1:]
    assert [each.id for each in await client.models() if each.parent] == names


async def test_an_adapter_that_another_answer_has_loaded_again_meanwhile_is_asked_once_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = await shop.adapter("a", await shop.model("base"))
    said = await shop.said(adapter, "Hi", tokens=4)
    server = base_of(shop).server
    restore = server.restore

    async def after_another(name: str) -> bool:
        await restore(name)
        return await restore(name)

    monkeypatch.setattr(server, "restore", after_another)
    (name,) = [each.id for each in await server.client().models() if each.parent]
    await server.client().unload_adapter(name)

    assert await shop.said(adapter, "Hi", tokens=4) == said


async def test_prompts_are_tokens_in_which_what_people_wrote_is_text(shop: Shop) -> None:
    model = await shop.model("base")
    async with shop.engines.use("acme", model) as engine:
        prompt = Prompt(messages=(Message.of(Role.USER, "a<|im_end|>"),), sampling=Sampling(max_output_tokens=3))
        counted = await engine.count_tokens(prompt)
        *_, finish = [each async for each in engine.generate(prompt, timeout_s=WITHIN_S)]

    written = "<|im_start|>user\na<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    specials = written.count("<|im_start|>") + 1  # the model's own end of a turn
    assert counted == len(written) - 2 * (len("<|im_start|>") - 1) - (len("<|im_end|>") - 1)
    assert specials == 3
    assert isinstance(finish, Finish)
    assert (finish.input_tokens, finish.output_tokens, finish.reason) == (counted, 3, "length")


async def test_a_prompt_beyond_the_context_is_refused_before_vllm_is_asked(shop: Shop) -> None:
    model = await shop.model("base")

    with pytest.raises(InvalidInput, match="the context of base@1 has 512"):
        await shop.said(model, "x" * 600)


async def test_damaged_files_never_reach_vllm(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)
    await shop.said(base, "Hi", tokens=1)
    folder = shop.folder / "cache" / "acme" / adapter.digest
    await shop.engines.verify("acme", adapter)
    (folder / "adapter_model.safetensors").write_bytes(b"else")

    with pytest.raises(ModelRefused, match=r"adapter_model\.safetensors"):
        await shop.said(adapter, "Hi", tokens=1)

    assert [each.id for each in await base_of(shop).server.client().models()] == ["base"]


async def test_vllm_is_given_a_config_without_what_names_code_or_places(shop: Shop) -> None:
    folder = shop.folder / "base"
    model = await shop.model("base")
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text.replace("{", '{"use_kernels": true,', 1), encoding="utf-8")
    changed = await shop.stored("base", folder)
    assert changed.digest != model.digest

    await shop.said(changed, "Hi", tokens=1)

    given = (shop.folder / "vllm" / changed.digest[:16] / "config.json").read_text(encoding="utf-8")
    assert "use_kernels" not in given
    assert '"architectures": ["LlamaForCausalLM"]' in given


async def test_a_crash_is_reported_at_once_and_readiness_comes_back_with_the_server(shop: Shop) -> None:
    model = await shop.model("base")
    await shop.said(model, "Hi", tokens=1)
    await shop.engines.probe()
    pid = pid_of(shop)

    async def long() -> str:
        return await shop.said(model, "Hi", tokens=400)

    answers = [asyncio.create_task(long()) for _ in range(3)]
    await eventually(lambda: shop.memory.engines[0].users == 3, within_s=WITHIN_S)
    await asyncio.sleep(0.2)
    os.killpg(pid, signal.SIGKILL)
    found = await asyncio.gather(*answers, return_exceptions=True)

    assert [type(each) for each in found] == [ServerEnded] * 3
    await eventually(lambda: base_of(shop).server.up and pid_of(shop) != pid, within_s=WITHIN_S)
    assert await shop.said(model, "Hi", tokens=2)
    await shop.engines.probe()


async def test_an_adapter_that_did_not_come_back_with_its_server_is_loaded_by_its_next_request(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)
    said = await shop.said(adapter, "Hi", tokens=2)
    load, pid = VllmClient.load_adapter, pid_of(shop)

    async def fails(*_: object) -> None:
        monkeypatch.setattr(VllmClient, "load_adapter", load)
        raise OSError

    monkeypatch.setattr(VllmClient, "load_adapter", fails)
    await crash(shop)
    await eventually(lambda: base_of(shop).server.up and pid_of(shop) != pid, within_s=WITHIN_S)

    assert await shop.said(base, "Hi", tokens=2) == said.lower()
    assert await shop.said(adapter, "Hi", tokens=2) == said


async def test_an_adapter_whose_engine_cannot_be_made_leaves_the_server(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)
    await shop.said(base, "Hi", tokens=1)

    def fails(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("tidemill_inference.engines.vllm.base.VllmEngine", fails)
    with pytest.raises(FileNotFoundError):
        await shop.said(adapter, "Hi", tokens=1)

    assert [each.id for each in await base_of(shop).server.client().models()] == ["base"]


async def test_while_it_is_down_requests_fail_at_once_and_the_process_is_not_ready(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await shop.model("base")
    await shop.said(model, "Hi", tokens=1)
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 600.0)

    await crash(shop)

    with pytest.raises(DependencyUnavailable, match="down and started again"):
        await shop.said(model, "Hi", tokens=1)
    with pytest.raises(DependencyUnavailable, match=r"base@1 \(starting again\)"):
        await shop.engines.probe()


async def test_a_model_that_vllm_cannot_load_is_refused_and_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    model = await shop.model("base")
    shop.reconfigure(vllm=replace(shop.engines._options.vllm, command=("-c", "raise SystemExit(3)")))  # type: ignore[type-var]  # noqa: SLF001 - the test says what

    with pytest.raises(ModelRefused, match="exit status 3"):
        await shop.said(model, "Hi")

    assert shop.memory.engines == ()
    assert [each for each in (tmp_path / "vllm").iterdir() if each.is_dir()] == []


async def test_an_adapter_with_magnitudes_is_refused_with_what_to_do(shop: Shop) -> None:
    adapter = await shop.adapter("a", await shop.model("base"), use_dora=True)

    with pytest.raises(ModelRefused, match="a@1 is refused: vLLM serves no adapters with use_dora: merge it"):
        await shop.said(adapter, "Hi")


async def test_an_evicted_base_ends_its_server_and_an_evicted_adapter_leaves_it(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)
    for each in (base, adapter):
        await shop.said(each, "Hi", tokens=1)
    pid, server = pid_of(shop), base_of(shop).server

    assert await shop.engines.forget("acme") == 2

    assert shop.memory.weights == ()
    assert not server.alive
    assert not psutil.pid_exists(pid)


async def test_what_is_in_use_is_not_ended(shop: Shop) -> None:
    model = await shop.model("base")
    async with shop.engines.use("acme", model):
        with pytest.raises(NotYet):
            await shop.engines.forget("acme")
        assert base_of(shop).server.up


async def test_a_deployments_engine_counts_before_the_services(shop: Shop) -> None:
    model = await shop.model("base")

    async def engine(model: ModelVersion) -> str:
        async with shop.engines.use("acme", model) as found:
            return found.fingerprint

    assert (await engine(model)).startswith("vllm 0.0.1 float32")
    assert (await engine(replace(model, engine="transformers"))).startswith("transformers ")
    assert len(shop.memory.weights) == 2


async def test_where_vllm_cannot_run_transformers_does(shop: Shop, tmp_path: Path) -> None:
    model = await shop.model("base")
    shop.reconfigure(vllm=replace(shop.engines._options.vllm, python=tmp_path / "none"))  # type: ignore[type-var]  # noqa: SLF001 - the test says what

    async with shop.engines.use("acme", replace(model, engine="vllm")) as engine:
        assert engine.fingerprint.startswith("transformers ")


async def test_a_model_with_its_server_that_exceeds_the_memory_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_options, "PROCESS_BYTES", 200 * MB)
    model = await shop.model("base")

    with pytest.raises(PreconditionFailed, match="limit for models is 100 MB"):
        await shop.said(model, "Hi")


async def test_a_candidate_is_loaded_ahead_and_held(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)

    await shop.engines.prepare("acme", adapter, holder="r1")

    assert [each.holders for each in shop.memory.engines] == [{("acme", "r1")}]
    await shop.engines.release("acme", adapter, holder="r1")
    assert [each.holders for each in shop.memory.engines] == [set()]


async def test_a_server_that_answers_once_only_is_ended_with_the_load_that_failed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, started = await shop.model("base"), list[VllmServer]()

    async def fails(_client: VllmClient) -> str:
        message = "gone"
        raise DependencyUnavailable(message, dependency="vllm")

    async def start(server: VllmServer) -> None:
        started.append(server)
        await begin(server)

    begin = VllmServer.start
    monkeypatch.setattr(VllmServer, "start", start)
    monkeypatch.setattr(VllmClient, "version", fails)

    with pytest.raises(DependencyUnavailable, match="gone"):
        await shop.said(model, "Hi")

    assert not started[0].alive
    assert started[0].process is not None
    assert not psutil.pid_exists(started[0].process.pid)


async def test_calls_whose_tags_are_special_tokens_can_be_required(shop: Shop, tmp_path: Path) -> None:
    tags = ("<tool_call>", "</tool_call>")
    folder = tmp_path / "tools"
    await asyncio.to_thread(write_tiny_model, folder, context=1024, template=TOOL_TEMPLATE, special=tags)
    model = await shop.stored("tools", folder)
    prompt = Prompt(
        messages=(Message.of(Role.USER, "Hi"),),
        sampling=Sampling(max_output_tokens=4),
        tools=(Tool(name="look"),),
        tool_choice=ToolChoice(mode=ToolMode.REQUIRED),
    )

    async with shop.engines.use("acme", model) as engine:
        said = [each async for each in engine.generate(prompt, timeout_s=WITHIN_S)]

    assert isinstance(said[-1], Finish)


async def test_a_server_at_an_address_answers_for_the_model_of_its_project_only(shop: Shop, tmp_path: Path) -> None:
    mine, port = await shop.model("base"), _free_port()
    url = f"http://127.0.0.1:{port}"
    shop.reconfigure(vllm=replace(shop.engines._options.vllm, urls=(url,)))  # type: ignore[type-var]  # noqa: SLF001 - the test says what
    served = ("--model", str(tmp_path), "--port", str(port), "--served-model-name", "acme/base@1")
    there = await asyncio.create_subprocess_exec(sys.executable, str(FAKE), *served, stderr=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: _listens(port), within_s=WITHIN_S)
        assert await shop.said(mine, "Hi", tokens=2)

        theirs = await shop.model("base", seed=2, project="other")
        with pytest.raises(ModelRefused, match="--served-model-name other/base@1"):
            async with shop.engines.use("other", theirs):
                pass
    finally:
        there.kill()
        await there.wait()


async def test_a_base_that_is_dropped_leaves_nothing_of_its_model_on_the_disk(shop: Shop) -> None:
    await shop.said(await shop.model("base"), "Hi", tokens=1)
    given = base_of(shop).server.log.with_suffix("")
    assert (given / "config.json").exists()

    await shop.engines.forget("acme")

    assert not given.exists()


async def test_an_engine_is_made_beside_the_event_loop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []

    class Prompts(ChatPrompts):
        def __init__(self, *given: Any, **how: Any) -> None:  # noqa: ANN401 - as it has them
            made.append(threading.current_thread() is threading.main_thread())
            super().__init__(*given, **how)

    monkeypatch.setattr(vllm_engine, "ChatPrompts", Prompts)

    await shop.said(await shop.model("base"), "Hi", tokens=1)

    assert made == [False]


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
