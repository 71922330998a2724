import asyncio
import gc
import os
import signal
import sys
import textwrap
import urllib.request
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from libs.kit.tests.grpc.support import Context, Lines, settings, sources
from libs.kit.tests.service.running import Part, Running, Switch, living
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.errors import DependencyUnavailable, Internal
from tidemill_core.grpc.client import open_channel
from tidemill_kit.http.server import HttpServer
from tidemill_kit.runtime.settings import PortTaken
from tidemill_kit.runtime.telemetry import serve_metrics
from tidemill_kit.service import app
from tidemill_kit.service.app import App, Dependency, Worker, serve
from tidemill_testkit.access import access_of
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port

pytestmark = pytest.mark.usefixtures("lines")


async def test_a_service_is_alive_at_once_and_ready_when_what_it_needs_answers() -> None:
    mongodb, diary = Switch(on=False), list[str]()
    async with living(dependencies=[mongodb.dependency], components=[Part("relay", diary)]) as service:
        assert await service.health("liveness")
        assert not await service.health()
        with pytest.raises(DependencyUnavailable, match="probe is starting and waits for mongodb: try again"):
            await SourceServiceStub(service.channel).GetSource(GetSourceRequest())
        assert diary == []

        mongodb.on = True
        await service.becomes(ready=True)
        assert diary == ["relay started"]
        assert (await SourceServiceStub(service.channel).GetSource(GetSourceRequest())).source.id == "cms"


async def test_imports_are_left_out_of_collections_and_nothing_that_components_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diary = list[str]()
    monkeypatch.setattr(gc, "freeze", lambda: diary.append("frozen"))
    monkeypatch.setattr(gc, "set_threshold", lambda *given: diary.append(f"every {given[0]}"))
    parts = [Part("relay", diary)]
    built = App(settings=settings(grpc_port=0), servicers=[], access=access_of(), components=parts)
    running = asyncio.create_task(app._main(built))  # noqa: SLF001 - what `run` runs
    await eventually(lambda: "every 3000" in diary)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await running == 0
    assert diary == ["frozen", "relay started", "every 3000", "relay stopped"]


async def test_freed_memory_goes_back_to_the_system_while_the_service_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[bool] = []
    monkeypatch.setattr(app, "_RETURN_MEMORY_EVERY_S", 0.01)
    monkeypatch.setattr(app, "return_freed_memory", lambda: returned.append(True))
    async with living():
        await eventually(lambda: len(returned) >= 2)


async def test_readiness_falls_when_a_dependency_goes_away_and_comes_back_by_itself(lines: Lines) -> None:
    mongodb, kafka = Switch("mongodb"), Switch("kafka")
    async with living(dependencies=[mongodb.dependency, kafka.dependency]) as service:
        await service.becomes(ready=True)
        before = await service.status()
        kafka.on = False
        await service.becomes(ready=False)
        down = await service.status()
        kafka.on = True
        await service.becomes(ready=True)
        after = await service.status()

    assert before.ready
    assert not down.ready
    assert after.ready
    assert [(d.name, d.ready, d.message) for d in down.dependencies] == [
        ("mongodb", True, ""),
        ("kafka", False, "kafka does not answer"),
    ]
    assert down.dependencies[1].change_time.ToDatetime() > before.dependencies[1].change_time.ToDatetime()
    assert [line["dependency"] for line in lines.named("dependency_lost")] == ["kafka"]


async def test_what_requests_do_not_need_may_be_away_once_the_service_has_started() -> None:
    mongodb, kafka = Switch("mongodb"), Switch("kafka", on=False)
    needed = replace(kafka.dependency, needed_to_serve=False)
    async with living(dependencies=[mongodb.dependency, needed]) as service:
        assert not await service.health()
        kafka.on = True
        await service.becomes(ready=True)
        kafka.on = False
        while all(dependency.ready for dependency in (await service.status()).dependencies):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.01)
        assert await service.health()
        assert (await service.status()).ready
        mongodb.on = False
        await service.becomes(ready=False)


async def test_what_the_start_does_not_need_holds_up_no_request() -> None:
    engine, diary = Switch("engine", on=False), list[str]()
    held = replace(engine.dependency, needed_to_start=False)
    async with living(dependencies=[held], components=[Part("relay", diary)]) as service:
        assert await service.health("liveness")
        assert (await SourceServiceStub(service.channel).GetSource(GetSourceRequest())).source.id == "cms"
        assert diary == ["relay started"]
        assert not await service.health()
        engine.on = True
        await service.becomes(ready=True)


async def test_http_takes_no_more_requests_while_the_last_rpcs_are_answered() -> None:
    async def last(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http.port}") as client:
            assert (await client.get("/nothing")).status_code == 404
        entered.set()
        async with asyncio.timeout(2):
            while await _listens(http.port):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.01)
        return GetSourceResponse()

    entered, http = asyncio.Event(), HttpServer(Starlette(), host="127.0.0.1", port=0, grace_s=3)
    async with living(servicers=[sources(GetSource=last)], components=[http]) as service:
        await service.becomes(ready=True)
        call = asyncio.create_task(_asked(service))
        await entered.wait()
        assert await service.ends() == 0
        await call


async def test_what_takes_long_to_finish_does_so_beside_the_last_rpcs() -> None:
    class Draining(Part):
        def begin_stop(self) -> None:
            diary.append("draining")
            drained.set()

    async def last(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        entered.set()
        await drained.wait()
        diary.append("answered")
        return GetSourceResponse()

    diary, entered, drained = list[str](), asyncio.Event(), asyncio.Event()
    async with living(servicers=[sources(GetSource=last)], components=[Draining("consumers", diary)]) as service:
        await service.becomes(ready=True)
        call = asyncio.create_task(_asked(service))
        await entered.wait()
        assert await service.ends() == 0
        await call

    assert diary == ["consumers started", "draining", "answered", "consumers stopped"]


async def _asked(service: Running) -> GetSourceResponse:
    return await SourceServiceStub(service.channel).GetSource(GetSourceRequest())


async def test_a_probe_that_hangs_or_fails_oddly_counts_as_down_and_shows_no_secret(lines: Lines) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        message = "mongodb://root:hunter2@10.0.0.1"
        raise OSError(message)

    async with living(
        dependencies=[Dependency(name="s3", probe=hang), Dependency(name="mongodb", probe=fail)],
        settings={"dependency_timeout_s": 0.1},
    ) as service:
        await eventually(lambda: len(lines.named("dependency_lost")) == 2)
        status = await service.status()

    assert [dependency.message for dependency in status.dependencies] == [
        "no answer within 0.1 s; it is asked again until it answers",
        "OSError; the log has more; it is asked again until it answers",
    ]


async def test_components_start_in_order_and_stop_in_reverse() -> None:
    diary: list[str] = []
    async with living(components=[Part("relay", diary), Part("consumers", diary)]) as service:
        await service.becomes(ready=True)
        assert await service.ends() == 0

    assert diary == ["relay started", "consumers started", "consumers stopped", "relay stopped"]


async def test_a_component_whose_dependency_went_away_meanwhile_is_started_again() -> None:
    diary: list[str] = []
    async with living(components=[Part("consumers", diary, refusals=1)]) as service:
        await service.becomes(ready=True)

    assert diary == ["consumers started", "consumers stopped"]


@pytest.mark.parametrize("error", [Internal("the sweep is broken"), None], ids=["fails", "ends"])
async def test_a_worker_that_does_not_go_on_ends_the_process_and_says_why(
    error: Exception | None, lines: Lines
) -> None:
    async def sweep() -> None:
        await go.wait()
        if error is not None:
            raise error

    go, diary = asyncio.Event(), list[str]()
    async with living(components=[Part("relay", diary), Worker("sweeper", sweep)]) as service:
        await service.becomes(ready=True)
        go.set()
        assert await asyncio.wait_for(service.task, 5) == 1

    assert diary == ["relay started", "relay stopped"]
    (line,) = lines.named("service_failed")
    assert ("the sweep is broken" if error else "sweeper ended without being stopped") in str(line)


async def test_a_worker_is_cancelled_when_the_service_stops() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    ended = asyncio.Event()
    async with living(components=[Worker("worker", work)]) as service:
        await service.becomes(ready=True)
        assert await service.ends() == 0

    assert ended.is_set()


@pytest.mark.parametrize("fault", [{"stop_forever": True}, {"stop_error": OSError("gone")}], ids=["hangs", "fails"])
async def test_a_component_that_does_not_stop_keeps_no_other_from_stopping(fault: dict[str, Any], lines: Lines) -> None:
    diary: list[str] = []
    parts = [Part("relay", diary), Part("consumers", diary, **fault)]
    async with living(components=parts, settings={"shutdown_grace_s": 0.2}) as service:
        await service.becomes(ready=True)
        assert await service.ends() == 1

    assert diary == ["relay started", "consumers started", "relay stopped"]
    assert [line["component"] for line in lines.named("component_stop_failed")] == ["consumers"]


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # refused, or reset where it was about to be accepted
        return False
    writer.close()
    return True


async def test_a_service_that_is_asked_to_stop_while_it_waits_stops() -> None:
    async with living(dependencies=[Switch(on=False).dependency]) as service:
        assert await service.health("liveness")
        assert await service.ends() == 0


async def test_a_port_that_is_taken_ends_the_process_with_one_sentence_that_says_what_to_do(lines: Lines) -> None:
    async with living() as service:
        await service.becomes(ready=True)
        app = App(settings=settings(grpc_port=service.port), servicers=[], access=access_of())
        assert await serve(app, stop=asyncio.Event()) == 1
        with pytest.raises(PortTaken, match="set PROBE_METRICS_PORT to a free port"):
            serve_metrics(settings(metrics_port=service.port))

    (line,) = lines.named("service_failed")
    assert line["why"] == (
        f"127.0.0.1:{service.port} cannot be listened on: end what listens there, or set PROBE_GRPC_PORT to a free port"
    )
    assert "exception" not in line


SCRIPT = """
import asyncio
from libs.kit.tests.grpc.support import ProbeSettings
from tidemill_kit.access.access import Access
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.service import app
from tidemill_kit.service.app import App, Worker, run
from tidemill_kit.runtime.settings import load

async def tick():
    await asyncio.Event().wait()

async def build(settings):
    return App(settings=settings, servicers=[], access=Access.of(settings), components=[Worker("ticker", tick)])

settings = load(ProbeSettings)
configure_logging(settings)
run(build(settings))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_serves_metrics_and_ends_orderly_on_a_signal(number: signal.Signals) -> None:
    given = settings(grpc_port=free_port(), metrics_port=free_port())
    values = given.model_dump(mode="json").items()
    environment = {f"PROBE_{name.upper()}": _text(value) for name, value in values}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(SCRIPT), stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment}
    )
    async with open_channel(f"127.0.0.1:{given.grpc_port}", timeout_s=20) as channel:
        await Running(given.grpc_port, asyncio.Event(), asyncio.create_task(process.wait()), channel).becomes(
            ready=True
        )
    page = await asyncio.to_thread(_page, f"http://127.0.0.1:{given.metrics_port}/metrics")
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 0, errors.decode()
    assert "tidemill_rpc_total" in page
    assert "process_resident_memory_bytes" in page
    assert '"service_stopped"' in errors.decode()
    assert all(line.startswith("{") for line in errors.decode().splitlines())


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else "" if value is None else str(value)


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own address
        return str(reply.read(), "utf-8")
