"""Compares what a gateway adds to a provider: inference, and LiteLLM's proxy, beside the provider asked directly.

The provider is a process that always gives the same answer of 16 words (`_provider`). It is asked directly, through
inference by HTTP (credential, limits, its record in MongoDB and an event in Kafka) with records of mode FULL and NONE,
and with a cache that has the answer, and through LiteLLM's proxy with one worker, a key and a durable log
(`litellm/durable_log.py` says which). All run on the same cores and are asked in turns. Printed are the milliseconds
that each adds, p50 and p99, one request after the other; requests a second at 64 at once; and the processor time of a
request in the gateway's processes, which other work on the machine changes least. A turn begins when the events of the
one before are on Kafka; how long that took after the last answer is printed too.

Run as `python -m tests.bench.gateway`, with TIDEMILL_TEST_STACK naming a stack.json or on fresh servers. `--memory
200000` sends so many requests instead, to one deployment or to several in turns, and prints how the memory of inference
grows after the first 10,000. `--pid FILE` writes the id of inference's process, for a profiler.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import psutil
import uvloop
from google.protobuf.duration_pb2 import Duration

from services.inference.tests.process.stub_services import stub_services
from tests.bench._figures import report
from tests.bench._litellm import litellm_proxy
from tests.bench._load import Load, Target, load
from tests.bench._servers import servers
from tidemill.inference.v1 import configuration_pb2, deployment_pb2, prompt_pb2
from tidemill.inference.v1.caching_pb2 import CachePolicy
from tidemill.inference.v1.deployment_service_pb2 import CreateDeploymentRequest
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.prompt_service_pb2 import CreatePromptRequest
from tidemill.inference.v1.prompt_service_pb2_grpc import PromptServiceStub
from tidemill.status.v1.status_service_pb2 import GetStatusRequest
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel, installation
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port
from tidemill_testkit.service_process import ServiceProcess

AT_ONCE = 64
ONE_BY_ONE = 100
"""Requests of a turn that come one after the other."""
WARM_UP = 200
_ENDS_OF_A_SLOPE = 2
PROJECT = "bench"
DEPLOYMENTS = {"recorded": deployment_pb2.RECORD_MODE_FULL, "unrecorded": deployment_pb2.RECORD_MODE_NONE}
CACHED = "cached"


@dataclass(kw_only=True)
class Inference(ServiceProcess):
    """The service as operators run it, with limits that are counted and not reached."""

    service = "inference"

    neighbours: str
    http_port: int = field(default_factory=free_port)
    provider_port: int

    def _settings(self) -> dict[str, str]:
        return {
            "HTTP_PORT": str(self.http_port),
            "RAG_ADDRESS": self.neighbours,
            "TRAINER_ADDRESS": self.neighbours,
            "DATA_DIR": str(self.folder / "data"),
            "REMOTE_HOSTS": f"127.0.0.1:{self.provider_port}",
            "MAX_REQUESTS_PER_MINUTE_OF_PROJECT": "10000000",
            "MAX_REQUESTS_PER_MINUTE_OF_SUBJECT": "10000000",
            "LEASE_TTL_S": "15",
        }


async def _at_once() -> None:
    """Wait for nothing."""


@dataclass
class Way:
    """One way to the provider, and what was measured of it; `processes` are the gateway's first ones.

    `idle` waits until what follows an answer is done.
    """

    target: Target
    processes: Sequence[psutil.Process] = ()
    idle: Callable[[], Awaitable[None]] = _at_once
    alone: list[Load] = field(default_factory=list)
    together: list[Load] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How long after the last of many answers what follows them was done."""

    def processor_s(self) -> float:
        """Return the processor time of the gateway so far, in all of its processes."""
        families = (each for first in self.processes for each in (first, *first.children(recursive=True)))
        return sum(times.user + times.system for times in (each.cpu_times() for each in families))

    def latency_ms(self) -> tuple[float, float]:
        """Return p50 and p99 of the requests that came one after the other."""
        times = [seconds * 1000 for each in self.alone for seconds in each.times_s]
        return median(times), quantiles(times, n=100)[-1]

    def per_s(self) -> float:
        """Return the requests a second of many at once."""
        return median(each.per_s for each in self.together)


@contextmanager
def provider(port: int, words: int, delay_ms: float) -> Iterator[None]:
    """Run the provider."""
    options = [str(port), "--words", str(words), "--delay-ms", str(delay_ms)]
    process = subprocess.Popen([sys.executable, "-m", "tests.bench._provider", *options])  # noqa: S603 - our own
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


async def unpublished(port: int) -> int:
    """Return how many answers are known whose events are not on Kafka, or not out of their outboxes."""
    async with admin_channel(f"127.0.0.1:{port}", project=PROJECT, timeout_s=60) as channel:
        return (await StatusServiceStub(channel).GetStatus(GetStatusRequest())).status.outbox_length


async def published(port: int) -> None:
    """Wait until the events of all answers are on Kafka, and out of their outboxes."""

    async def none_waits() -> bool:
        return not await unpublished(port)

    await eventually(none_waits)


@asynccontextmanager
async def inference(
    stack: Addresses, folder: Path, provider_port: int, *, kind: type[Inference] = Inference
) -> AsyncIterator[Inference]:
    """Run the service with a deployment of each record mode."""
    async with stub_services() as (registry, *_, address):
        registry.add_remote("mock", f"http://127.0.0.1:{provider_port}/v1", name="mock")
        process = kind(stack=stack, folder=folder, neighbours=address, provider_port=provider_port)
        await asyncio.to_thread(process.start)
        try:
            async with admin_channel(f"127.0.0.1:{process.port}", project=PROJECT, timeout_s=60) as channel:
                content = prompt_pb2.PromptContent(system="Answer shortly.", user="{{ question }}")
                prompt = prompt_pb2.Prompt(id="bench", content=content)
                await PromptServiceStub(channel).CreatePrompt(CreatePromptRequest(prompt=prompt))
                for name, mode in {**DEPLOYMENTS, CACHED: deployment_pb2.RECORD_MODE_FULL}.items():
                    deployment = deployment_pb2.Deployment(
                        id=name,
                        model="mock",
                        prompt="bench",
                        sampling=configuration_pb2.Sampling(max_output_tokens=64),
                        record=mode,
                        cache=CachePolicy(ttl=Duration(seconds=3600)) if name == CACHED else None,
                    )
                    request = CreateDeploymentRequest(deployment=deployment)
                    await DeploymentServiceStub(channel).CreateDeployment(request)
            yield process
        finally:
            await asyncio.to_thread(process.stop)


async def turns(ways: Sequence[Way], *, rounds: int, many: int) -> None:
    """Ask all ways in turns, one by one and together."""
    for round_ in range(-1, rounds):
        for way in ways:
            first = (round_ + 1) * (ONE_BY_ONE + many)
            alone = await load(way.target, ONE_BY_ONE if round_ >= 0 else WARM_UP, at_once=1, first=first)
            await way.idle()
            begun, requests = way.processor_s(), many if round_ >= 0 else WARM_UP
            together = await load(way.target, requests, at_once=AT_ONCE, first=first + ONE_BY_ONE)
            answered = perf_counter()
            await way.idle()
            late_s = perf_counter() - answered
            spent = way.processor_s() - begun
            if round_ >= 0:
                way.alone.append(alone)
                way.together.append(together)
                way.processor_ms.append(spent / many * 1000)
                way.late_s.append(late_s)


def compared(ways: Mapping[str, Way]) -> None:
    """Print what was measured, and hand on the ratios to LiteLLM."""
    direct = ways["direct"].latency_ms()[0]
    added = {}
    for name, way in ways.items():
        p50, p99 = way.latency_ms()
        added[name] = p50 - direct, p99 - direct
        _say(
            f"{name:12} {p50:7.2f} ms p50 {p99:7.2f} ms p99, adds {p50 - direct:6.2f} and {p99 - direct:6.2f}; "
            f"{way.per_s():6.0f} requests/s at {AT_ONCE} at once, {median(way.processor_ms):6.2f} ms of processor each"
            f", events {median(way.late_s):.2f} s later"
        )
    p95 = quantiles([seconds * 1000 for each in ways[CACHED].alone for seconds in each.times_s], n=20)[-1]
    _say(f"an answer from the cache: {p95:.2f} ms p95")
    report("cache_hit_p95", p95, "ms")
    if "litellm" in ways:
        p50, p99, rate = _beside_litellm("recorded", ways, added)
        report("gateway_recorded_p50", p50, "x")
        report("gateway_recorded_p99", p99, "x")
        report("gateway_recorded_rate", rate, "x")
        p50, p99, _ = _beside_litellm("unrecorded", ways, added)
        report("gateway_unrecorded_p50", p50, "x")
        report("gateway_unrecorded_p99", p99, "x")


def _beside_litellm(
    name: str, ways: Mapping[str, Way], added: Mapping[str, tuple[float, float]]
) -> tuple[float, float, float]:
    """Print and return the ratios of one way to LiteLLM: what it adds at p50 and p99, and its requests a second."""
    ours, theirs = ways[name], ways["litellm"]
    p50, p99 = (our / their for our, their in zip(added[name], added["litellm"], strict=True))
    rate, effort = ours.per_s() / theirs.per_s(), median(theirs.processor_ms) / median(ours.processor_ms)
    _say(
        f"{name} / LiteLLM: adds {p50:.2f} x at p50, {p99:.2f} x at p99; "
        f"{rate:.2f} x its requests/s, {effort:.2f} x by processor time"
    )
    return p50, p99, rate


async def grown(targets: Sequence[Target], process: Inference, requests: int, *, every: int) -> None:
    """Send many requests to the targets in turns, and print the memory of the process as they come."""
    measured = psutil.Process(process.pid)
    sizes = list[float]()
    for first, target in zip(range(0, requests, every), cycle(targets), strict=False):
        done = await load(target, min(every, requests - first), at_once=AT_ONCE, first=first)
        sizes.append(measured.memory_info().rss / 1e6)
        waiting = await unpublished(process.port)
        _say(f"{first + every:8} requests: {sizes[-1]:7.1f} MB, {done.per_s:5.0f} requests/s, {waiting:5} events wait")
    if len(sizes) >= _ENDS_OF_A_SLOPE:
        slope = _slope(sizes)
        _say(f"grows by {slope:.2f} MB each {every} requests, after the first")
        report("gateway_growth", slope, "MB")


def _slope(sizes: Sequence[float]) -> float:
    """Return the median of all slopes between two values (Theil and Sen): one jump of the allocator does not count."""
    pairs = ((sizes[later] - sizes[one]) / (later - one) for later in range(len(sizes)) for one in range(later))
    return median(pairs)


async def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    async with AsyncExitStack() as running:
        stack = running.enter_context(servers())
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1"
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="tidemill-gateway-")))
        running.enter_context(provider(port, given.words, given.delay_ms))
        ours = await running.enter_async_context(inference(stack, folder, port))
        if given.pid:
            given.pid.write_text(str(ours.pid), encoding="ascii")
        process = psutil.Process(ours.pid)
        key = installation().token(PROJECT, "contributor")
        target = Target("inference", f"http://127.0.0.1:{ours.http_port}/v1", key, "recorded", stream=given.stream)
        if given.memory:
            targets = [replace(target, model=name, same=name == CACHED) for name in given.deployments.split(",")]
            await grown(targets, ours, given.memory, every=given.every)
            return
        idle = partial(published, ours.port)
        ways = {"direct": Way(Target("direct", url, "none", "mock", stream=given.stream))}
        for name in (*DEPLOYMENTS, CACHED):
            ways[name] = Way(replace(target, model=name, same=name == CACHED), [process], idle)
        if not given.alone:
            theirs, pid = running.enter_context(litellm_proxy(url, free_port(), folder))
            ways["litellm"] = Way(replace(theirs, stream=given.stream), [psutil.Process(pid)])
        await turns(list(ways.values()), rounds=given.rounds, many=given.together)
        compared(ways)
        _say(f"load {os.getloadavg()[0]:.1f}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", type=int, default=16)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--alone", action="store_true", help="without LiteLLM")
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--deployments", default="recorded", help="of --memory: recorded,unrecorded,cached")
    parser.add_argument("--every", type=int, default=10_000, help="requests between two sizes of memory")
    parser.add_argument("--together", type=int, default=1000, help="requests of a turn at 64 at once")
    parser.add_argument("--pid", type=Path)
    uvloop.run(main(parser.parse_args()))
