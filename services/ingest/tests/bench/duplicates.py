"""Prints how fast and how well near-duplicates are found, and what one more document costs among many.

`python -m services.ingest.tests.bench.duplicates [--rows 100000]`. First beside datasketch (MIT), as it comes: 128
permutations, its own bands for a similarity of .8, shingles of five words, by `update` and by `update_batch`. All read
the same 5,000 texts of 200 words in turns of 500, and count processor time; ours includes the comparison, which leaves
nothing but duplicates. The truth is the Jaccard similarity of all pairs. Then the store: a new document's calls with
few and with very many documents, each with 4 of its 16 keys, on an embedded MongoDB of its own, in turn.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from statistics import median

from datasketch import MinHash, MinHashLSH

from tests.bench._figures import report
from tests.bench._mongo_file import COPY_OF, MongoFile
from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.documents.mongo_fingerprints import MongoFingerprints
from tidemill_ingest.quality.fingerprint import Fingerprint, similarity
from tidemill_ingest.quality.policy import SIMILARITY
from tidemill_ingest.quality.shingling import fingerprint, fingerprints
from tidemill_kit.store import mongo
from tidemill_testkit.clocks import NOON

TEXTS, WORDS, TURN = 5_000, 200, 500
RUN = 5
WITHIN = 1_000_000
COLLECTIONS = ("fingerprints", "fingerprint_keys", "fingerprint_links", "fingerprint_checks")
TOGETHER = (1, 4, 16, TURN)
"""Texts that are read by one call: 16 are the most of documents that wait for a process of ingest."""
ALONE, WAITING = "ours, 1 together", "ours, 16 together"
TURNS, WARM_UP = 60, 10
FILLED_BANDS = 4
"""Of the 16 keys of each document that is filled in, so that filling takes less than measuring."""
Pairs = set[tuple[int, int]]


class Ours:
    """What ingest does, with the keys in memory."""

    def __init__(self, *, together: int) -> None:
        self._together = together
        self.pairs: Pairs = set()
        self.took_s = 0.0
        self._made: list[Fingerprint] = []
        self._by_key: dict[str, list[int]] = defaultdict(list)

    def add(self, texts: Sequence[str]) -> None:
        """Find the duplicates of each text among those before, and add it."""
        begun = time.process_time()
        starts = range(0, len(texts), self._together)
        parts = (fingerprints(texts[start : start + self._together], within=WITHIN) for start in starts)
        for made in chain.from_iterable(parts):
            number = len(self._made)
            shared = Counter(other for key in made.keys for other in self._by_key[key])
            self.pairs |= {(other, number) for other in shared if similarity(made, self._made[other]) >= SIMILARITY}
            self._made.append(made)
            for key in made.keys:
                self._by_key[key].append(number)
        self.took_s += time.process_time() - begun


class Datasketch:
    """The same by datasketch, which takes the shingles of a text one by one, or all at once."""

    def __init__(self, *, in_batches: bool) -> None:
        self._in_batches = in_batches
        self.pairs: Pairs = set()
        self.took_s = 0.0
        self._index = MinHashLSH(threshold=SIMILARITY, num_perm=128)
        self._count = 0

    def add(self, texts: Sequence[str]) -> None:
        """See `Ours.add`."""
        begun = time.process_time()
        for text in texts:
            made = MinHash(num_perm=128)
            words = text.split()
            runs = [" ".join(words[start : start + RUN]).encode() for start in range(len(words) - RUN + 1)]
            if self._in_batches:
                made.update_batch(runs)
            else:
                for run in runs:
                    made.update(run)
            self.pairs |= {(other, self._count) for other in self._index.query(made)}
            self._index.insert(self._count, made)
            self._count += 1
        self.took_s += time.process_time() - begun


def corpus(chance: random.Random) -> list[str]:
    """Return texts of which most belong to a family: one text, and copies of it with some words exchanged."""
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(8_000)]
    texts: list[str] = []
    while len(texts) < TEXTS:
        first = chance.choices(words, k=WORDS)
        texts.append(" ".join(first))
        for _ in range(chance.choice((0, 0, 1, 2, 3, 4))):
            copy = list(first)
            for place in chance.sample(range(WORDS), chance.randint(1, 7)):
                copy[place] = chance.choice(words)
            texts.append(" ".join(copy))
    chance.shuffle(texts)
    return texts[:TEXTS]


def true_pairs(texts: Sequence[str]) -> Pairs:
    """Return the pairs of texts that are as similar as duplicates are, by comparing their runs themselves."""
    by_run: dict[tuple[str, ...], list[int]] = defaultdict(list)
    runs = [set(zip(*(text.split()[start:] for start in range(RUN)), strict=False)) for text in texts]
    for number, of_text in enumerate(runs):
        for run in of_text:
            by_run[run].append(number)
    related = {(one, other) for numbers in by_run.values() for one in numbers for other in numbers if one < other}
    return {
        (one, other)
        for one, other in related
        if len(runs[one] & runs[other]) / len(runs[one] | runs[other]) >= SIMILARITY
    }


def beside_datasketch() -> None:
    """Print the first table."""
    texts = corpus(random.Random(7))  # noqa: S311 - made-up texts
    truth = true_pairs(texts)
    ours = {f"ours, {together} together": Ours(together=together) for together in TOGETHER}
    ways: dict[str, Ours | Datasketch] = {
        **ours,
        "datasketch": Datasketch(in_batches=False),
        "datasketch, in batches": Datasketch(in_batches=True),
    }
    fingerprint(texts[0], within=WITHIN)
    for start in range(0, TEXTS, TURN):
        for each in list(ways.values())[:: 1 if start // TURN % 2 else -1]:
            each.add(texts[start : start + TURN])
    say(f"{TEXTS} texts of {WORDS} words, {len(truth)} pairs of similarity {SIMILARITY} or more")
    say(f"{'':24}{'texts/s':>10}{'recall':>10}{'precision':>10}")
    for name, found in ways.items():
        right = len(found.pairs & truth)
        recall, precision = right / len(truth), right / max(1, len(found.pairs))
        say(f"{name:24}{TEXTS / found.took_s:10.0f}{recall:10.3f}{precision:10.3f}")
        if name == WAITING:
            report("near_duplicates_recall", recall, "")
            report("near_duplicates_precision", precision, "")
    for mine in ours:
        ratios = {name: ways[name].took_s / ways[mine].took_s for name in ways if name.startswith("datasketch")}
        say(f"{mine}: " + ", ".join(f"x {ratio:.2f} of {name}" for name, ratio in ratios.items()))
    report("near_duplicates_speed", ways["datasketch"].took_s / ours[ALONE].took_s, "x")
    report("near_duplicates_speed_together", ways["datasketch"].took_s / ours[WAITING].took_s, "x")


class Stored:
    """The store of one size."""

    def __init__(self, client: mongo.Client, rows: int) -> None:
        self.name, self.rows = f"fingerprints_{rows}", rows
        self.took: dict[str, list[float]] = defaultdict(list)
        self._store = MongoFingerprints(*(client[self.name][each] for each in COLLECTIONS))
        self._chance = random.Random(rows)  # noqa: S311 - made-up texts
        self._words = [f"w{number}" for number in range(5_000)]
        self._originals: list[tuple[StoredFingerprint, list[str]]] = []

    async def begin(self) -> None:
        """Have the store write some itself, which copies are made of."""
        for number in range(10):
            words = self._chance.choices(self._words, k=WORDS)
            stored = self._stored(f"o{number}", words)
            await self._store.put("acme", stored)
            await self._store.check("acme", [stored.document], due=NOON)
            self._originals.append((stored, words))

    def fill(self, file: MongoFile) -> None:
        """Add the other rows to the file."""
        model = f"acme/{self._originals[0][0].name}"
        names = [f"d{number:08d}/t" for number in range(self.rows)]
        file.fill(
            self.name,
            "fingerprints",
            ({COPY_OF: model, "_id": f"acme/{name}", "document": name[:-2], "text": "t"} for name in names),
        )
        file.fill(self.name, "fingerprint_keys", self._keys(names))

    async def once(self, turn: int) -> None:
        """Store a text like no other, and one like an original, as ingest does."""
        words = self._chance.choices(self._words, k=WORDS)
        original, copied = self._originals[turn % len(self._originals)]
        similar = [*copied[:50], f"x{turn}", *copied[51:]]
        for kind, of_text in (("a new text", words), ("a near-duplicate", similar)):
            stored = self._stored(f"{kind[2:5]}-{turn}", of_text)
            begun = time.perf_counter()
            found = await self._store.near("acme", stored.fingerprint, but=stored.document)
            alike = [each for each in found if similarity(stored.fingerprint, each.fingerprint) >= SIMILARITY]
            assert bool(alike) == (of_text is similar)
            leading = original.document if alike else ""
            await self._store.put("acme", self._stored(stored.document, of_text, original=leading))
            await self._store.check("acme", [stored.document], due=NOON + timedelta(seconds=30))
            self.took[kind].append((time.perf_counter() - begun) * 1000)

    def _stored(self, document: str, words: Sequence[str], *, original: str = "") -> StoredFingerprint:
        made = fingerprint(" ".join(words), within=WITHIN)
        return StoredFingerprint(document=document, text="t", fingerprint=made, stored_at=NOON, original=original)

    def _keys(self, names: Sequence[str]) -> Iterator[dict[str, object]]:
        for name in names:
            for band in range(FILLED_BANDS):
                yield {"_id": f"acme/{band:02}-{self._chance.getrandbits(64):016x}", "texts": [name]}


async def beside_many(sizes: Sequence[int]) -> None:
    """Print the second table."""
    with tempfile.TemporaryDirectory(prefix="tidemill-duplicates-") as folder:
        file = MongoFile(Path(folder) / "store.mv")
        client = mongo.connect(file.uri, timeout_s=120)
        made = [Stored(client, rows) for rows in sizes]
        with file.served():
            for each in made:
                await each.begin()
        begun = time.perf_counter()
        for each in made:
            each.fill(file)
        say(f"filled in {time.perf_counter() - begun:.0f} s")
        with file.served():
            for turn in range(TURNS + WARM_UP):
                first = turn % len(made)
                for each in made[first:] + made[:first]:
                    await each.once(turn)
        client.close()
    say(f"{'milliseconds, median, by documents':40}{''.join(f'{size:>10}' for size in sizes)}   last/first")
    grown = list[float]()
    for kind in made[0].took:
        costs = [median(each.took[kind][WARM_UP:]) for each in made]
        grown.append(costs[-1] / costs[0])
        say(f"{kind:40}{''.join(f'{cost:10.2f}' for cost in costs)}   x {grown[-1]:.2f}")
    report("near_duplicates_growth", max(grown), "x")


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print both tables."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=100_000, help="the largest number of documents, at least 1000")
    asked.add_argument("--alone", action="store_true", help="measure the store only")
    options = asked.parse_args()
    if not options.alone:
        beside_datasketch()
    asyncio.run(beside_many(sorted({min(size, options.rows) for size in (1000, 10_000, options.rows)})))


if __name__ == "__main__":
    main()
