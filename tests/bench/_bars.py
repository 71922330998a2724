"""The bars of speed, and the run that measures them: `python infra/bars.py --speed`.

Each measurement is a program of its own that prints what it finds and hands its figures on (`_figures`). They run one
after the other on a fresh stack with its services, for other work on the machine lowers most of them.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.bars import MAX_STACK_GB
from tests.bench._figures import FILE, Figure, figures_in
from tidemill_kit.models.numeric_format import computes_bfloat16
from tidemill_local import LocalStack

ROOT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What is measured, by which module, how much it was before, and what is promised."""

    name: str
    what: str
    measured_by: str
    before: str = "not measured"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def promise(self) -> str:
        """The limit in words."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"

    def holds(self, measured: float) -> bool:
        """Return whether a value is within the limit."""
        return measured >= self.at_least if self.at_least is not None else measured <= (self.at_most or 0.0)


ENGINE, AGGREGATES, VECTORS = "tests.bench.engine", "tests.bench.aggregates", "services.rag.tests.bench.vectors"
ACCESS, GENERATE, STORE_CALLS = (
    "tests.bench.access",
    "tests.bench.generate",
    "services.inference.tests.bench.store_calls",
)
EVALUATION, GATEWAY = "tests.bench.evaluation", "tests.bench.gateway"
AUDIT, DOCUMENTS, FLOOD, IDLE, MASKING = (
    "tests.bench.audit",
    "tests.bench.documents",
    "tests.bench.flood",
    "tests.bench.idle",
    "tests.bench.masking",
)
QUANTIZATION, HYBRID, DUPLICATES = (
    "tests.bench.quantization",
    "services.rag.tests.bench.hybrid",
    "services.ingest.tests.bench.duplicates",
)
BARS = (
    Bar(  # first, on a stack that has done nothing yet
        name="idle_memory",
        what="memory of all processes idle, both models in use",
        measured_by=IDLE,
        before="2.6 GB",
        at_most=MAX_STACK_GB,
    ),
    Bar(
        name="events_in_memory",
        what="event engine / plain aiokafka, effect in memory",
        measured_by=ENGINE,
        before="0.08",
        at_least=0.35,
    ),
    Bar(
        name="events_of_2_ms",
        what="event engine / plain aiokafka, effect of 2 ms",
        measured_by=ENGINE,
        before="4.9",
        at_least=8,
    ),
    Bar(
        name="others_p95",
        what="others' p95 beside a record of seconds / without",
        measured_by=ENGINE,
        before="stalls",
        at_most=1.2,
    ),
    Bar(
        name="aggregate_save",
        what="aggregate save with an event / bare find and update",
        measured_by=AGGREGATES,
        before="0.48",
        at_least=0.75,
    ),
    Bar(
        name="access_check",
        what="what checking a known credential adds to an RPC, ms",
        measured_by=ACCESS,
        before="no check",
        at_most=0.3,
    ),
    Bar(
        name="audited_rpc",
        what="what storing an audited RPC's intent adds to it / a bare insert",
        measured_by=AUDIT,
        before="no audit",
        at_most=2,
    ),
    Bar(
        name="audit_verified",
        what="audit records verified a second",
        measured_by=AUDIT,
        before="no audit",
        at_least=100_000,
    ),
    Bar(
        name="flood_p95",
        what="others' p95 beside a project that sends without pause / without",
        measured_by=FLOOD,
        before="no limits",
        at_most=1.1,
    ),
    Bar(
        name="store_calls",
        what="store calls of one answer, relay included",
        measured_by=STORE_CALLS,
        before="9",
        at_most=5,
    ),
    Bar(
        name="documents_per_s",
        what="documents a second from submission to searchable",
        measured_by=DOCUMENTS,
        before="12",
        at_least=36,
    ),
    Bar(
        name="embedding_speed",
        what="documents embedded a second / torch in float32 as sentence-transformers calls it",
        measured_by=QUANTIZATION,
        before="2.5",
        at_least=3,
    ),
    Bar(
        name="embedding_loss",
        what="nDCG@10 that weights of 8 bits lose over all questions, hybrid, %",
        measured_by=QUANTIZATION,
        before="0",
        at_most=0.5,
    ),
    Bar(
        name="search_20k",
        what="search p50 for 1,000 chunks with all filters, at 20,000",
        measured_by=VECTORS,
        before="4.9 ms",
        at_most=0.4,
    ),
    Bar(
        name="search_50k",
        what="search p50 for 1,000 chunks with all filters, at 50,000",
        measured_by=VECTORS,
        before="4.9 ms",
        at_most=0.4,
    ),
    Bar(
        name="recall_at_10",
        what="recall@10 of these searches",
        measured_by=VECTORS,
        before="1",
        at_least=0.99,
    ),
    Bar(
        name="search_100k_p95",
        what="hybrid search among 100,000 chunks by readers, source and metadata, p95",
        measured_by=HYBRID,
        at_most=25,
    ),
    Bar(
        name="search_100k_recall",
        what="recall@10 of these searches",
        measured_by=HYBRID,
        at_least=0.99,
    ),
    Bar(
        name="near_duplicates_speed",
        what="texts compared a second, one by one / datasketch",
        measured_by=DUPLICATES,
        before="8.9",
        at_least=10,
    ),
    Bar(
        name="near_duplicates_speed_together",
        what="texts compared a second, 16 together / datasketch",
        measured_by=DUPLICATES,
        at_least=10,
    ),
    Bar(
        name="near_duplicates_recall",
        what="pairs of similarity 0.8 or more that are found",
        measured_by=DUPLICATES,
        before="0.990",
        at_least=0.95,
    ),
    Bar(
        name="near_duplicates_precision",
        what="of what is found, the share that is one",
        measured_by=DUPLICATES,
        before="1",
        at_least=0.98,
    ),
    Bar(
        name="near_duplicates_growth",
        what="store calls of a document that is compared, among 100,000 / 1,000",
        measured_by=DUPLICATES,
        before="1.19",
        at_most=1.1,
    ),
    Bar(
        name="gateway_recorded_rate",
        what="requests/s of one inference process / LiteLLM's proxy with one worker, 64 at once",
        measured_by=GATEWAY,
        at_least=2,
    ),
    Bar(
        name="gateway_recorded_p50",
        what="latency that inference adds, records on / LiteLLM's proxy, p50",
        measured_by=GATEWAY,
        at_most=1,
    ),
    Bar(
        name="gateway_recorded_p99",
        what="the same, p99",
        measured_by=GATEWAY,
        at_most=1,
    ),
    Bar(
        name="gateway_unrecorded_p50",
        what="latency that inference adds, records off / LiteLLM's proxy, p50",
        measured_by=GATEWAY,
        at_most=0.333,
    ),
    Bar(
        name="gateway_unrecorded_p99",
        what="the same, p99",
        measured_by=GATEWAY,
        before="6.0",
        at_most=0.333,
    ),
    Bar(
        name="cache_hit_p95",
        what="an answer from the cache, p95",
        measured_by=GATEWAY,
        before="no cache",
        at_most=10,
    ),
    Bar(
        name="generate_16",
        what="Generate / transformers' own batch, 16 at once",
        measured_by=GENERATE,
        before="0.62",
        at_least=0.85,
    ),
    Bar(
        name="evaluation",
        what="cases a second of an evaluation / asked one by one",
        measured_by=EVALUATION,
        before="-",
        at_least=3,
    ),
    Bar(
        name="masking_recall",
        what="identifiers with a structure that masking finds whole, the worst kind",
        measured_by=MASKING,
        at_least=0.98,
    ),
    Bar(
        name="masking_precision",
        what="of what it finds, the share that is one, the worst kind",
        measured_by=MASKING,
        at_least=0.97,
    ),
)
SECONDS: Mapping[str, float] = {
    ENGINE: 90,
    AGGREGATES: 25,
    VECTORS: 60,
    GENERATE: 120,
    EVALUATION: 570,
    STORE_CALLS: 15,
    ACCESS: 20,
    AUDIT: 30,
    DOCUMENTS: 100,
    FLOOD: 75,
    IDLE: 190,
    GATEWAY: 150,
    MASKING: 10,
    QUANTIZATION: 130,
    HYBRID: 240,
    DUPLICATES: 170,
}
"""About how long each takes, for the estimate."""
_START_S = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A bar, what was measured (None where the measurement failed), and the load of the machine before."""

    bar: Bar
    figure: Figure | None
    load: float

    @property
    def holds(self) -> bool:
        """Whether the bar is held."""
        return self.figure is not None and self.bar.holds(self.figure.measured)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        measured = f"{self.figure.measured:.3g} {self.figure.unit}" if self.figure else "not measured"
        verdict = "held" if self.holds else "MISSED"
        return self.bar.what, self.bar.before, self.bar.promise, measured, verdict, f"{self.load:.1f}"


def measure(chosen: Collection[str], say: Callable[[str], None]) -> list[Result]:
    """Run the measurements whose modules' last names are chosen, all if none is, on a stack of their own."""
    bars = [bar for bar in BARS if not chosen or bar.measured_by.rpartition(".")[2] in chosen]
    modules = list(dict.fromkeys(bar.measured_by for bar in bars))
    with tempfile.TemporaryDirectory(prefix="tidemill-bars-") as name:
        figures, stack = Path(name) / "figures", LocalStack(Path(name) / ".tidemill")
        progress = _Progress(modules, say)
        try:
            progress.step("starts the stack")
            stack.up(lambda _: None)
            loads = dict(_run(modules, stack.addresses_file, figures, progress))
        finally:
            stack.down()
        found = figures_in(figures)
    return [Result(bar=bar, figure=found.get(bar.name), load=loads[bar.measured_by]) for bar in bars]


def table(results: Sequence[Result]) -> Iterator[str]:
    """Return the lines of the table."""
    rows = [("what", "before", "bar", "measured", "", "load"), *(result.row() for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield f"on {processor()}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return what `--json` prints."""
    return [asdict(result) | {"holds": result.holds, "processor": processor()} for result in results]


def processor(cpuinfo: Path = CPUINFO) -> str:
    """Return the processor's name, its cores, and in which format models compute there."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    computes = "bfloat16" if computes_bfloat16() else "float32"
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {computes}"


def _run(modules: Sequence[str], stack: Path, figures: Path, progress: "_Progress") -> Iterator[tuple[str, float]]:
    environment = {**os.environ, "TIDEMILL_TEST_STACK": str(stack), FILE: str(figures)}
    for module in modules:
        load = os.getloadavg()[0]
        progress.step(module)
        command = [sys.executable, "-m", module]
        done = subprocess.run(  # noqa: S603 - our own scripts
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            progress.say(f"{module} failed:\n{done.stdout}{done.stderr}")
        yield module, load


class _Progress:
    """Says what runs, after how long, and how long all of it takes."""

    def __init__(self, modules: Sequence[str], say: Callable[[str], None]) -> None:
        self.say = say
        self._begun, self._steps, self._count = time.monotonic(), 0, len(modules) + 1
        self._about_s = _START_S + sum(SECONDS[module] for module in modules)

    def step(self, what: str) -> None:
        self._steps += 1
        minutes = (time.monotonic() - self._begun) / 60
        self.say(f"{self._steps} of {self._count}, {minutes:.1f} of about {self._about_s / 60:.0f} min: {what}")
