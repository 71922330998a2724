"""Shows what the requests of a gateway wait for, one by one: all of them, and the slowest twentieth and hundredth.

The service records when its requests begin and end, with the commands of MongoDB, the rounds of the relay, and the
collections of garbage (`_spans`). Printed are means, in milliseconds: of a request, of its steps, and of the commands
in it as the driver sees them; and how many of the requests came beside a round of the relay, or a collection.

Run as `python -m tests.bench.timeline [requests]`, on fresh servers or those of TIDEMILL_TEST_STACK. With `--alone` a
stand-in answers for MongoDB at once (`_instant_store`): what is left is the service's own.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from bisect import bisect
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import mean, quantiles

import uvloop

from tests.bench._instant_store import instant_store
from tests.bench._load import Target, load
from tests.bench._servers import servers
from tests.bench._spans import FILE
from tests.bench.gateway import CACHED, PROJECT, WARM_UP, Inference, inference, provider, published
from tidemill_testkit.access import installation
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port

_RELAY = ("take out", "publish")
_SHARES = {"all": 1.0, "slowest twentieth": 0.05, "slowest hundredth": 0.01}
Span = tuple[str, float, float]


class Recording(Inference):
    """The service, which records what it does."""

    imports_late = ("tests.bench._spans:install",)


@dataclass
class Request:
    """One request, and what happened while it was answered."""

    span: Span
    inside: list[Span] = field(default_factory=list)

    @property
    def took_s(self) -> float:
        """How long it took in the service."""
        return self.span[2] - self.span[1]

    def of(self, name: str) -> float:
        """Return the time of its own steps or commands of this name, side by side ones once, in seconds."""
        ends, total = 0.0, 0.0
        for _, begin, end in sorted((each for each in self.inside if each[0].startswith(name)), key=itemgetter(1)):
            total += max(0.0, end - max(begin, ends))
            ends = max(ends, end)
        return total

    def beside(self, *names: str) -> bool:
        """Whether something of these names happened at the same time."""
        return any(each[0].startswith(names) for each in self.inside)


def requests_of(spans: Sequence[Span]) -> list[Request]:
    """Return the requests of a load one by one, the slowest first, each with all that overlaps it."""
    found = sorted((Request(each) for each in spans if each[0] == "request"), key=lambda request: request.span[1])
    begins = [request.span[1] for request in found]
    for name, begin, end in spans:
        if name != "request":
            for request in found[max(0, bisect(begins, begin) - 1) : bisect(begins, end)]:
                _, came, answered = request.span
                if begin < answered and end > came:
                    request.inside.append((name, max(begin, came), min(end, answered)))
    return sorted(found, key=lambda request: request.took_s, reverse=True)


def shown(requests: Sequence[Request]) -> str:
    """Return what these requests waited for."""

    def ms(part: Callable[[Request], float]) -> str:
        return f"{mean(map(part, requests)) * 1000:.2f}"

    parts = {
        "in all": lambda each: each.took_s,
        "search of the cache": lambda each: each.of("lookup"),
        "reads": lambda each: each.of("find "),
        "complete": lambda each: each.of("complete"),
        "insert": lambda each: each.of("insert "),
        "gc": lambda each: each.of("gc"),
        "take out": lambda each: each.of("take out"),
    }
    line = ", ".join(f"{name} {ms(part)}" for name, part in parts.items())
    relay, collected = (mean(each.beside(*names) for each in requests) for names in (_RELAY, ("gc",)))
    return f"{line}; {relay:.0%} beside the relay, {collected:.0%} beside a collection"


def spread(requests: Sequence[Request]) -> str:
    """Return the median, and the time that nineteen of twenty, and 99 of 100, stay below."""
    parts = quantiles((each.took_s * 1000 for each in requests), n=100)
    return f"p50 {parts[49]:.2f}, p95 {parts[94]:.2f}, p99 {parts[98]:.2f} ms"


async def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    async with AsyncExitStack() as running:
        stack, port = running.enter_context(servers()), free_port()
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="tidemill-timeline-")))
        spans = folder / "spans.json"
        os.environ[FILE] = str(spans)
        running.enter_context(provider(port, 16, 0))
        if given.alone:
            stack = running.enter_context(instant_store(stack))
        ours = await running.enter_async_context(inference(stack, folder, port, kind=Recording))
        key = installation().token(PROJECT, "contributor")
        target = Target("inference", f"http://127.0.0.1:{ours.http_port}/v1", key, CACHED)
        for name in given.deployments.split(","):
            asked = replace(target, model=name, same=name == CACHED)
            await load(asked, WARM_UP, at_once=1)
            await load(asked, WARM_UP, at_once=16, first=WARM_UP)
            await published(ours.port)
            await written(ours.pid, spans)
            await load(asked, given.requests, at_once=1, first=2 * WARM_UP)
            requests = requests_of(await written(ours.pid, spans))
            for share, part in _SHARES.items():
                chosen = requests[: max(1, int(len(requests) * part))]
                say(f"{name}, {share} ({len(chosen)}): {shown(chosen)}")
            apart = [each for each in requests if not each.beside(*_RELAY)]
            say(f"{name}, not beside the relay ({len(apart)}): {shown(apart)}")
            say(f"{name}, in the service: {spread(requests)} in all, {spread(apart)} not beside the relay")
        say(f"load {os.getloadavg()[0]:.1f}")


async def written(pid: int, file: Path) -> list[Span]:
    """Return what was recorded since the last time."""
    file.unlink(missing_ok=True)  # noqa: ASYNC240 - nothing else runs
    os.kill(pid, signal.SIGUSR1)
    await eventually(partial(asyncio.to_thread, file.exists))
    spans = await asyncio.to_thread(file.read_text, encoding="utf-8")
    return [(name, begin, end) for name, begin, end in json.loads(spans)]


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=int, nargs="?", default=1000)
    parser.add_argument("--deployments", default="cached,unrecorded")
    parser.add_argument("--alone", action="store_true", help="without what MongoDB takes")
    uvloop.run(main(parser.parse_args()))
