"""A server of vLLM as a child: it is started, watched, started again and ended. vLLM is a small server of the tests."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from llguidance import LLMatcher
from prometheus_client import REGISTRY

from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.grammars import grammar_of, refusal
from tidemill_inference.engines.ports import Finish, Prompt
from tidemill_inference.engines.tool_calls import ToolFormat
from tidemill_inference.engines.vllm import server as servers
from tidemill_inference.engines.vllm.client import Encoded, as_lark
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_inference.engines.vllm.process import Served, arguments, environment
from tidemill_inference.engines.vllm.server import VllmServer
from tidemill_inference.errors import ModelRefused
from tidemill_inference.generation.domain.tools import Tool, ToolChoice, ToolMode
from tidemill_testkit.polling import eventually

FAKE = Path(__file__).with_name("fake_vllm.py")
WITHIN_S = 60


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POLL_S", 0.05)
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def options(tmp_path: Path) -> VllmOptions:
    (tmp_path / "given").mkdir()
    return VllmOptions(
        folder=tmp_path, numeric_format="float32", python=Path(sys.executable), command=(str(FAKE),), start_s=WITHIN_S
    )


def served(options: VllmOptions) -> Served:
    return Served(folder=options.folder / "given", context_tokens=512, cache_bytes=1 << 20)


class Files:
    """Verifies nothing, and counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0

    async def __call__(self) -> Path:
        self.asked += 1
        return self.folder


@pytest.fixture
async def server(options: VllmOptions) -> AsyncIterator[VllmServer]:
    made = VllmServer("m@1", options, files=Files(options.folder), served=served(options))
    await made.start()
    yield made
    await made.close()


def encoded(letter: str = "a", tokens: int = 3) -> Encoded:
    prompt = Prompt(messages=(), sampling=Sampling(temperature=0.0))
    return Encoded(
        messages=prompt.messages, sampling=prompt.sampling, tokens=[ord(letter) - 97], max_tokens=tokens, salt="acme"
    )


async def said(server: VllmServer, letter: str = "a", *, adapter: str = "") -> str:
    pieces = server.client(adapter).generate(encoded(letter), timeout_s=WITHIN_S)
    return "".join([getattr(each, "text", "") async for each in pieces])


async def running(server: VllmServer) -> float:
    return (await server.client().gauges())["num_requests_running"]


async def test_it_answers_once_it_was_started_and_counts_what_it_took(server: VllmServer) -> None:
    *_, finish = [each async for each in server.client().generate(encoded(tokens=5), timeout_s=WITHIN_S)]

    assert await said(server, "d") == "ddd"
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.input_tokens, finish.output_tokens) == ("length", 1, 5)
    assert await server.client().version() == "0.0.1"


async def test_a_log_is_shortened_while_its_server_runs_and_the_last_part_of_it_is_kept(options: VllmOptions) -> None:
    few = replace(options, log_bytes=30)
    server = VllmServer("m@1", few, files=Files(options.folder), served=served(options))
    await server.start()
    before = server.log.with_name(f"{server.log.name}.1")

    async def shortened() -> bool:
        await said(server)
        return before.exists()

    await eventually(shortened)
    await said(server)
    await server.close()

    assert before.stat().st_size == 30
    assert before.stat().st_mode & 0o077 == 0
    assert set(server.log.read_text().split()) <= {"asked"}  # and no gap, where the child was before


async def test_why_a_server_ended_can_still_be_read_once_it_is_back(server: VllmServer) -> None:
    assert server.process is not None
    pid = server.process.pid
    with server.log.open("a") as log:
        log.write("why")

    os.killpg(pid, signal.SIGKILL)
    await eventually(lambda: server.up and server.process is not None and server.process.pid != pid, within_s=WITHIN_S)

    before = server.log.with_name(f"{server.log.name}.1")
    assert "why" in before.read_text()
    assert before.stat().st_mode & 0o077 == 0
    assert "why" not in server.log.read_text()


async def test_a_model_that_vllm_cannot_load_is_refused_with_the_name_of_its_log(options: VllmOptions) -> None:
    (options.folder / "given" / "broken").touch()
    server = VllmServer("m@1", options, files=Files(options.folder), served=served(options))

    with pytest.raises(ModelRefused, match=r"exit status 1 .*given\.log"):
        await server.start()

    assert "cannot be loaded" in server.log.read_text()
    assert server.log.stat().st_mode & 0o077 == 0
    assert not server.alive


async def test_a_crash_in_the_middle_of_a_batch_fails_it_at_once_and_the_server_comes_back(server: VllmServer) -> None:
    await server.add("a", Files(server.log.parent), named="a@1")
    assert server.process is not None
    pid = server.process.pid

    async def broken() -> None:
        pieces = server.client().generate(encoded(tokens=5000), timeout_s=WITHIN_S)
        async for _ in pieces:
            pass

    answers = [asyncio.create_task(broken()) for _ in range(4)]
    while await running(server) < len(answers):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    found = await asyncio.gather(*answers, return_exceptions=True)

    assert [type(each) for each in found] == [DependencyUnavailable] * 4
    await eventually(lambda: server.up and server.process is not None and server.process.pid != pid, within_s=WITHIN_S)
    assert await said(server) == "aaa"
    assert await said(server, adapter="a") == "AAA"
    assert REGISTRY.get_sample_value("tidemill_vllm_restarts_total", {"model": "m@1"}) == 1


async def test_an_adapter_that_is_no_longer_there_keeps_no_other_from_coming_back(
    server: VllmServer, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    await server.add("gone", Files(tmp_path / "gone"), named="gone@1")
    await server.add("a", Files(tmp_path), named="a@1")
    (tmp_path / "gone" / "broken").touch()
    assert server.process is not None
    pid = server.process.pid

    os.killpg(pid, signal.SIGKILL)
    await eventually(lambda: server.up and server.process is not None and server.process.pid != pid, within_s=WITHIN_S)

    assert await said(server) == "aaa"
    assert await said(server, adapter="a") == "AAA"
    assert [server.serves(each) for each in ("gone", "a")] == [False, True]


async def test_while_it_is_down_it_says_so_at_once(options: VllmOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 600.0)
    server = VllmServer("m@1", options, files=Files(options.folder), served=served(options))
    await server.start()
    assert server.process is not None

    os.killpg(server.process.pid, signal.SIGKILL)
    await eventually(lambda: not server.up, within_s=WITHIN_S)

    with pytest.raises(DependencyUnavailable, match="down and started again"):
        server.client()
    assert server.alive
    assert REGISTRY.get_sample_value("tidemill_vllm_up", {"model": "m@1"}) == 0
    await server.close()


async def test_files_are_verified_before_each_start_and_before_each_adapter(options: VllmOptions) -> None:
    base, adapter = Files(options.folder), Files(options.folder)
    server = VllmServer("m@1", options, files=base, served=served(options))
    await server.start()
    await server.add("a", adapter, named="a@1")
    assert (base.asked, adapter.asked) == (1, 1)
    assert server.process is not None
    pid = server.process.pid

    os.killpg(pid, signal.SIGKILL)
    await eventually(lambda: server.up and server.process is not None and server.process.pid != pid, within_s=WITHIN_S)

    assert (base.asked, adapter.asked) == (2, 2)
    await server.close()


async def test_leaving_takes_an_answer_out_of_its_batch(server: VllmServer) -> None:
    async with aclosing(server.client().generate(encoded(tokens=100_000), timeout_s=WITHIN_S)) as pieces:
        await anext(pieces)
        assert await running(server) == 1

    began = time.monotonic()
    while await running(server):
        assert time.monotonic() - began < WITHIN_S
        await asyncio.sleep(0.01)


async def test_an_adapter_is_loaded_unloaded_and_refused_by_name(server: VllmServer, tmp_path: Path) -> None:
    await server.add("a", Files(tmp_path), named="a@1")
    assert [each.id for each in await server.client().models()] == ["base", "a"]
    await server.remove("a")
    assert [each.id for each in await server.client().models()] == ["base"]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "broken").touch()

    with pytest.raises(ModelRefused, match=r"a@1 .*INFERENCE_VLLM_ADAPTER_RANK"):
        await server.add("a", Files(tmp_path / "bad"), named="a@1")


async def test_what_vllm_says_of_its_queue_and_cache_is_passed_on(server: VllmServer) -> None:
    def passed_on() -> tuple[float | None, ...]:
        names = ("requests_running", "requests_waiting", "cache_usage")
        return tuple(REGISTRY.get_sample_value(f"tidemill_vllm_{name}", {"model": server.name}) for name in names)

    await eventually(lambda: passed_on() == (0, 2, 0.25), within_s=WITHIN_S)
    await server.close()
    assert passed_on() == (None, None, None)


async def test_it_ends_with_all_of_its_processes(options: VllmOptions) -> None:
    server = VllmServer("m@1", options, files=Files(options.folder), served=served(options))
    await server.start()
    assert server.process is not None

    await server.close()

    assert not psutil.pid_exists(server.process.pid)
    assert not server.alive


async def test_a_server_at_an_address_is_used_and_not_ended(options: VllmOptions, server: VllmServer) -> None:
    url = server._url  # noqa: SLF001 - a running server
    there = replace(options, urls=(url,), key=server._key)  # noqa: SLF001 - ditto
    other = VllmServer("m@1", there, files=Files(options.folder), served=None, url=url, served_as="base")
    await other.start()
    assert await said(other) == "aaa"
    replica = VllmServer("m@1", there, files=Files(options.folder), served=None, url=url, served_as="base")
    await replica.start()
    assert other.incarnation == replica.incarnation != server.incarnation
    await replica.close()
    wrong = VllmServer("base", there, files=Files(options.folder), served=None, url=url, served_as="acme/base")
    with pytest.raises(ModelRefused, match="serves base: start it with --served-model-name acme/base"):
        await wrong.start()

    await other.close()

    assert await said(server) == "aaa"


def test_a_child_gets_no_secret_of_the_service_and_what_keeps_it_offline(
    options: VllmOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERENCE_SECRET_ACME__KEY", "sesame")
    monkeypatch.setenv("TIDEMILL_STACK_FOLDER", "/stack")

    given = environment(options, key="k")

    assert not any("INFERENCE" in name for name in given)
    assert given["TIDEMILL_STACK_FOLDER"] == "/stack"
    assert (given["HF_HUB_OFFLINE"], given["VLLM_API_KEY"], given["VLLM_PLUGINS"]) == (
        "1",
        "k",
        "tidemill_grouped_lora",
    )


def test_its_arguments_have_the_numeric_format_and_the_operators_last(options: VllmOptions) -> None:
    given = arguments(replace(options, arguments=("--max-loras", "9")), served(options), port=1)

    assert given[given.index("--dtype") + 1] == "float32"
    assert given[-2:] == ("--max-loras", "9")
    assert "k" not in given


def test_vllm_cannot_run_where_it_is_not_installed_or_the_processor_is_too_old(
    options: VllmOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("flags : sse4_2\n")
    new.write_text("flags : avx2\n")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("tidemill_inference.engines.vllm.options.has_gpu", lambda: False)

    assert "make setup ENGINE=vllm" in replace(options, python=tmp_path / "none").why_not()
    assert "AVX2" in options.why_not(cpuinfo=old)
    assert options.why_not(cpuinfo=new) == ""
    assert replace(options, python=None, urls=("http://vllm:8000",)).why_not() == ""


@pytest.mark.parametrize("mode", [ToolMode.AUTO, ToolMode.REQUIRED])
def test_a_grammar_is_sent_as_one_text_that_llguidance_reads(mode: ToolMode) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"enum": ["x ::= y", "@a0"]}}, "required": ["a"]})
    tools = (Tool(name="pizza", parameters_json=schema, strict=True), Tool(name="clock"))
    prompt = Prompt(messages=(), tools=tools, tool_choice=ToolChoice(mode=mode))
    grammar = grammar_of(prompt, ToolFormat(name="hermes", opening="<tool_call>", closing="</tool_call>"))
    assert grammar is not None

    text = as_lark(grammar)

    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(text)) == ""
    assert json.dumps("@a0") in text
    assert refusal(grammar) == ""


async def test_it_is_started_again_whatever_its_start_fails_with(options: VllmOptions) -> None:
    class FilesOfAFullDisk(Files):
        async def __call__(self) -> Path:
            if self.asked == 1:
                self.asked += 1
                raise OSError(28, "No space left on device")
            return await super().__call__()

    server = VllmServer("m@1", options, files=FilesOfAFullDisk(options.folder), served=served(options))
    await server.start()
    assert server.process is not None

    os.killpg(server.process.pid, signal.SIGKILL)
    await eventually(lambda: not server.up, within_s=WITHIN_S)
    await eventually(lambda: server.up or not server.alive, within_s=WITHIN_S)

    assert server.up
    await server.close()


async def test_a_server_that_answers_nonsense_about_itself_is_unavailable(
    server: VllmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(_path: str) -> bytes:
        return b'{"object": "list"}'

    client = server.client()
    monkeypatch.setattr(client._endpoint, "get", nonsense)  # noqa: SLF001 - what a server says

    for asked in (client.models, client.version):
        with pytest.raises(DependencyUnavailable, match="answers nonsense"):
            await asked()


async def test_log_probabilities_without_ids_are_nonsense(server: VllmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": None}
    event = {"choices": [{"index": 0, "text": "a", "logprobs": logprobs}]}

    class Sent:
        async def more(self) -> bytes:
            return f"data: {json.dumps(event)}\n\n".encode()

        async def leave(self, *, ended: bool = False) -> None:
            """Does nothing."""

    async def post(*_: object) -> Sent:
        return Sent()

    client = server.client()
    monkeypatch.setattr(client._endpoint, "post", post)  # noqa: SLF001 - what a server says

    with pytest.raises(DependencyUnavailable, match="answers nonsense"):
        _ = [each async for each in client.generate(encoded(), timeout_s=WITHIN_S)]


def test_a_server_that_is_down_for_days_is_still_polled() -> None:
    assert servers._pause_s(1) < 1  # noqa: SLF001 - it would take days
    assert servers._pause_s(10_000) > 0.01  # noqa: SLF001 - ditto
