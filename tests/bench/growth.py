"""Prints what an operation costs with few rows and with very many: `python -m tests.bench.growth --rows 1000000`.

Rows are written in the stores' own format, by copies of one that the store wrote itself, into the file of an embedded
MongoDB. The stores of one service are filled and measured after those of another; all sizes of one lie side by side and
are measured in turn, so that a busy machine hits all alike.

Only what goes by `_id` can be shown by its cost on the embedded MongoDB, whose other indexes do not speed up reads: of
what goes by one of them the bench shows that the index is there, equal fields first, then the order of the list. That
no query of any service goes without is what the tests of the stores hold (`tidemill_testkit.queries`).
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import uuid4

from tests.bench._mongo_file import COPY_OF, MongoFile
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_feedback.curations.domain.ledger import CandidateExample, CurationRef
from tidemill_feedback.curations.mongo_ledger import MongoLedger as FeedbackLedger
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.relay import Relay, _Outbox
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Client, Database, Document
from tidemill_monitor.lineage.domain.graph import Ref
from tidemill_monitor.lineage.domain.kinds import ANSWERED, Direction, Kind
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.mongo_ends import End
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import DesiredDocument
from tidemill_rag.indexing.mongo import MongoLedger as RagLedger
from tidemill_testkit.clocks import NOON

Operations = Mapping[str, Callable[[], Awaitable[object]]]

SERVICES = ("inference", "rag", "feedback", "monitor")
WARM_UP = 5
"""Turns that are not counted, in which the server opens its maps and compiles."""

LIST_LENGTH = 50
LIMIT = 1.3
"""How much dearer than with few rows an operation may be."""

INDEX = IndexRef(project="acme", collection="handbook", number=1)
CURATION = CurationRef("acme", "sft", 1)
HUB = End("acme", Ref(Kind.MODEL_VERSION, "m@1"), ANSWERED, Direction.FORWARD)


@dataclass(kw_only=True)
class Harness:
    """The stores of a service with a number of rows each."""

    database: Database
    service: str
    rows: int
    took: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = self.database
        self.inferences = MongoAggregates(
            named["inferences"],
            codec=INFERENCES,
            topic="t",
            source="/s",
            missing=InferenceNotFound,
            lists=[("deployment",), ("end_user",)],
            usually_new=True,
        )
        self.rag = RagLedger(named["ledger"], named["ledger_counts"], large_bytes=65536, count_s=600)
        self.feedback = FeedbackLedger(named["examples"], named["counts"])
        self.edges = MongoEdges(named["edges"], named["places"], list_length=LIST_LENGTH)
        self.relay = Relay(Publisher())
        self.relay.enqueuer(named["inferences"])

    async def begin(self) -> None:
        """Have the stores write one row of each kind."""
        match self.service:
            case "inference":
                await self.inferences.ensure_indexes()
                await self.inferences.add(inference("i"), request=Request.internal())
            case "rag":
                await self.rag.ensure_indexes()
                await self.rag.count(INDEX)
                await self.rag.upsert_desired(INDEX, document("d"))
                counts = {"wanted": self.rows, "pending": self.rows}
                await self.database["ledger_counts"].update_one({}, {"$inc": counts})
            case "feedback":
                await self.feedback.ensure_indexes()
                await self.feedback.upsert_correction(CURATION, correction("f"))
            case "monitor":
                await self.edges.add(HUB, "first")

    def fill(self, file: MongoFile) -> None:
        """Add the other rows to the file."""
        name, rows = self.database.name, self.rows
        match self.service:
            case "inference":
                file.fill(name, "inferences", copies("acme/i", rows, lambda each: {"id": each[5:]}))
            case "rag":
                file.fill(name, "ledger", copies(f"{INDEX.key}/d", rows, lambda each: {"document": last(each)}))
            case "feedback":
                file.fill(name, "examples", copies("acme/sft/1/f", rows, lambda each: {"feedback": last(each)}))
            case "monitor":
                of_slot: dict[str, list[str]] = {}
                for number in range(rows):
                    of_slot.setdefault(HUB.slot_of(f"i{number:08d}"), []).append(f"i{number:08d}")
                file.fill(name, "edges", (each for slot, ids in of_slot.items() for each in lists(slot, ids)))
                file.fill(name, "places", (each for slot, ids in of_slot.items() for each in places(slot, ids)))

    async def once(self, turn: int) -> None:
        """Do each operation once, on rows that no other turn has."""
        operations = {
            "inference": self._of_inference,
            "rag": self._of_rag,
            "feedback": self._of_feedback,
            "monitor": self._of_monitor,
        }[self.service]
        for name, operation in (await operations(turn)).items():
            begun = perf_counter()
            await operation()
            self.took.setdefault(f"{self.service}: {name}", []).append((perf_counter() - begun) * 1000)

    def _at_random(self, turn: int, number: int) -> list[str]:
        return [f"{(turn * 7919 + step * 104729) % self.rows:08d}" for step in range(number)]

    async def _of_inference(self, turn: int) -> Operations:
        new, several = f"new-{turn}", [f"i{each}" for each in self._at_random(turn, 50)]
        at = _Outbox("inferences", f"acme/{several[0]}")
        waiting = {"$set": {"outbox": [entry(new)], "outbox_at": NOON}}
        await self.database["inferences"].update_one({"_id": f"acme/{several[0]}"}, waiting)
        return {
            "begin": lambda: self.inferences.add(inference(new), request=Request.internal()),
            "read": lambda: self.inferences.get("acme", several[0]),
            "change": lambda: self.inferences.update(
                "acme", several[0], lambda each: setattr(each, "failure", new), request=Request.internal()
            ),
            "publish an event": lambda: self.relay._empty(at),  # noqa: SLF001 - a relay that runs would read all first
            "read 50 old ones": lambda: self.inferences.get_many("acme", several),
        }

    async def _of_rag(self, turn: int) -> Operations:
        several = [f"d{each}" for each in self._at_random(turn, 24)]
        row = (await self.rag.rows(INDEX, several[:1]))[several[0]]
        return {
            "handle a document": lambda: self.rag.upsert_desired(INDEX, document(f"new-{turn}")),
            "handle the same again": lambda: self.rag.upsert_desired(INDEX, document(several[0])),
            "mark it indexed": lambda: self.rag.mark_indexed(INDEX, row, epoch=1, chunks=3),
            "a collection's numbers": lambda: self.rag.counts([INDEX]),
            "check 24 old candidates": lambda: self.rag.rows(INDEX, several),
        }

    async def _of_feedback(self, turn: int) -> Operations:
        return {
            "handle a correction": lambda: self.feedback.upsert_correction(CURATION, correction(f"new-{turn}")),
            "handle an old one again": lambda: self.feedback.upsert_correction(
                CURATION, correction(f"f{self._at_random(turn, 1)[0]}")
            ),
            "what changed": lambda: self.feedback.tally(CURATION),
        }

    async def _of_monitor(self, turn: int) -> Operations:
        return {
            "add an answer to a hub": lambda: self.edges.add(HUB, f"new-{turn}"),
            "add an old one again": lambda: self.edges.add(HUB, f"i{self._at_random(turn, 1)[0]}"),
            "a hub's number and 50 answers": lambda: self.edges.read([HUB], limit=50),
        }


class Publisher:
    """Takes every record at once."""

    async def publish(self, record: OutgoingRecord) -> None:
        """Acknowledge."""
        assert record.value


def entry(name: str) -> Document:
    """Return an event as it waits in an outbox."""
    texts = ("type", "source", "subject", "topic", "key", "data", "traceparent")
    return {"seq": 1, "ce_id": name, "time": NOON, **dict.fromkeys(texts, name)}


def inference(name: str) -> Inference:
    """Return a record as it begins."""
    return Inference(
        id=name, project="acme", request_id=name, request_digest="d", deployment="helpdesk", end_user=f"u-{name}"
    )


def document(name: str) -> DesiredDocument:
    """Return what an event says of a document."""
    content = ObjectRef(bucket="b", key=f"acme/{name}/x", size=900, sha256="0" * 64)
    return DesiredDocument(document=name, source="cms", key=name, seq=1, version=1, content=content)


def correction(name: str) -> CandidateExample:
    """Return what an event says of a correction."""
    return CandidateExample(
        feedback=name, seq=1, inference=f"i-{name}", deployment="helpdesk", end_user="u", observe_time=NOON
    )


def last(name: str) -> str:
    """Return the last part of an `_id`."""
    return name.rpartition("/")[2]


def copies(key: str, rows: int, named: Callable[[str], Document]) -> Iterator[Document]:
    """Yield copies of a document that go by `<key><number>`."""
    for number in range(rows):
        name = f"{key}{number:08d}"
        yield {COPY_OF: key, "_id": name, **named(name)}


def lists(slot: str, ids: Sequence[str]) -> Iterator[Document]:
    """Yield the lists of a slot, and its head."""
    parts = [list(ids[start : start + LIST_LENGTH]) for start in range(0, len(ids), LIST_LENGTH)]
    for level, refs in enumerate(parts):
        yield {"_id": f"{slot}/{level}", "refs": refs, "n": len(refs), "placed": True, "full": level + 1 < len(parts)}
    level = len(parts) - 1
    yield {"_id": f"{slot}/head", "level": level, "before": level * LIST_LENGTH, "unplaced": 0}


def places(slot: str, ids: Sequence[str]) -> Iterator[Document]:
    """Yield where each of a slot's ids stands."""
    for number, each in enumerate(ids):
        yield {"_id": f"{slot}/{each}", "level": number // LIST_LENGTH}


LISTS: dict[str, dict[str, tuple[str, Sequence[str]]]] = {
    "inference": {
        "inferences of a deployment": ("inferences", ("project", "deleted", "state.deployment", "create_time", "id")),
        "inferences of a person": ("inferences", ("project", "deleted", "state.end_user", "create_time", "id")),
        "what the relay has to publish": ("inferences", ("outbox_at", "_id")),
    },
    "rag": {"rows that wait in an index version": ("ledger", ("index", "state", "deleted", "chunks"))},
    "feedback": {
        "corrections that wait in a curation": ("examples", ("curation", "open")),
        "curations that changed": ("counts", ("dirty",)),
    },
}


async def missing_indexes(service: str, database: Database) -> list[str]:
    """Return what is read by an index that is not there."""
    missing = []
    for what, (collection, fields) in LISTS.get(service, {}).items():
        declared = [
            tuple(name for name, _ in index["key"])
            for index in (await database[collection].index_information()).values()
        ]
        say(f"{what:45} by the index {', '.join(fields)}")
        missing += [] if tuple(fields) in declared else [what]
    return missing


@asynccontextmanager
async def stores(service: str, sizes: Sequence[int]) -> AsyncIterator[list[Harness]]:
    """Give a service's stores of these sizes in a file of their own."""
    with tempfile.TemporaryDirectory(prefix="tidemill-growth-") as folder:
        file = MongoFile(Path(folder) / "store.mv")
        client: Client = mongo.connect(file.uri, timeout_s=120)
        made = [Harness(database=client[f"growth_{uuid4().hex[:8]}"], service=service, rows=rows) for rows in sizes]
        with file.served():
            for harness in made:
                await harness.begin()
        begun = perf_counter()
        for harness in made:
            harness.fill(file)
        filled = perf_counter()
        with file.served():
            say(f"{service}: filled in {filled - begun:.0f} s, served after {perf_counter() - filled:.1f} s")
            yield made
        client.close()


async def measure(service: str, sizes: Sequence[int], turns: int) -> list[str]:
    """Measure, print a table, and return what is dearer with more rows, or goes without its index."""
    async with stores(service, sizes) as made:
        for turn in range(-WARM_UP, turns):
            first = turn % len(made)
            for harness in made[first:] + made[:first]:
                await harness.once(turn % (turns + WARM_UP))
        grown = [f"{each} has no index" for each in await missing_indexes(service, made[0].database)]
    say(f"{'milliseconds, median, by rows':45}{''.join(f'{size:>10}' for size in sizes)}   most/first  last/second")
    for name in made[0].took:
        costs = [median(harness.took[name][WARM_UP:]) for harness in made]
        ratios = max(costs) / costs[0], costs[-1] / costs[min(1, len(costs) - 1)]
        grown += [f"{name} x {ratios[0]:.2f}"] if ratios[0] > LIMIT else []
        say(f"{name:45}{''.join(f'{cost:10.2f}' for cost in costs)}   x {ratios[0]:<8.2f}  x {ratios[1]:.2f}")
    return grown


async def main() -> int:
    """Measure each service's stores, and return 1 where something grows."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=3000, help="the largest size, at least 1000")
    asked.add_argument("--turns", type=int, default=100, help="how often each operation is measured")
    asked.add_argument("--services", nargs="+", choices=SERVICES, default=SERVICES, help="whose stores")
    options = asked.parse_args()
    sizes = sorted({min(size, options.rows) for size in (1000, 30_000, options.rows)})
    grown = [each for service in options.services for each in await measure(service, sizes, options.turns)]
    if grown:
        say(f"dearer than x {LIMIT} or without an index: {', '.join(grown)}")
    return 1 if grown else 0


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
