"""Prints what profiles cost a document.

`python -m services.ingest.tests.bench.profiles [documents]`. First the processor time of converting and masking
documents of examples/helpdesk, with what profiles measure and without, in turns. Then what the store adds, on an
embedded MongoDB of its own: a version is remembered before it is saved, and counted, alone and with 199 others.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from services.ingest.tests.fakes import ProjectsHere, spec
from tests.bench._figures import report
from tests.bench._mongo_file import MongoFile
from tests.bench.documents import corpus
from tidemill_ingest.documents.preparation import prepare_document
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.profiles.count_versions import CountVersions
from tidemill_ingest.profiles.domain.versions import NewVersion
from tidemill_ingest.profiles.mongo import MongoNewVersions, MongoOutcomes, MongoSketches
from tidemill_ingest.quality.measuring import traits_of
from tidemill_kit.store import mongo
from tidemill_testkit.clocks import NOON, FixedClock

TURNS = 5
ONE_BY_ONE, TOGETHER = 60, 200


def beside_preparation(texts: Sequence[str]) -> None:
    """Print the processor time of preparing, with traits and without."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(TURNS + 1):
        for profiled in (True, False):
            begun = time.process_time()
            for text in texts:
                prepare_document(spec(), text.encode(), Masking(), profiled=profiled)
            if turn:  # the first one loads libraries
                took[profiled].append((time.process_time() - begun) / len(texts) * 1000)
    with_them, without = median(took[True]), median(took[False])
    size = sum(map(len, texts)) / len(texts)
    say(f"{len(texts)} documents of {size:.0f} characters, milliseconds of a processor each, median of {TURNS}")
    say(
        f"  converted and masked {without:.2f}, with what profiles measure {with_them:.2f}: x {with_them / without:.2f}"
    )
    report("profiles: preparing a document", with_them / without, "x")


def versions(texts: Sequence[str], count: int, *, begin: int) -> list[NewVersion]:
    """Return versions of the texts under names of their own."""
    return [
        NewVersion(
            document=f"d{begin + number}",
            text="t",
            source="cms",
            stored_at=NOON,
            traits=traits_of(texts[number % len(texts)], language="en", within=1_000_000),
            media_type="text/html",
            channel="upload",
            masked={"email": 1},
            fields=("title", "metadata.product"),
        )
        for number in range(count)
    ]


async def in_the_store(texts: Sequence[str]) -> None:
    """Print what remembering and counting a version take."""
    with tempfile.TemporaryDirectory(prefix="tidemill-profiles-") as folder:
        file = MongoFile(Path(folder) / "store.mv")
        client = mongo.connect(file.uri, timeout_s=60)
        with file.served():
            database = client["profiles"]
            stored, documents = MongoNewVersions(database["profile_versions"]), database["documents"]
            await stored.ensure_indexes()
            count = CountVersions(
                versions=stored,
                sketches=MongoSketches(database["profile_days"]),
                outcomes=MongoOutcomes(documents),
                clock=FixedClock(),
                limits=Limits(),
                projects=ProjectsHere(),
                keep_days=400,
            )
            alone = versions(texts, ONE_BY_ONE, begin=0)
            await documents.insert_many([document(each) for each in alone])
            adding, counting = list[float](), list[float]()
            for each in alone:
                begun = time.perf_counter()
                await stored.add("acme", each)
                adding.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                await count("acme", "cms")
                counting.append(time.perf_counter() - begun)
            together = versions(texts, TOGETHER, begin=ONE_BY_ONE)
            await documents.insert_many([document(each) for each in together])
            await asyncio.gather(*(stored.add("acme", each) for each in together))
            begun = time.perf_counter()
            await count("acme", "cms")
            all_s = time.perf_counter() - begun
        client.close()
    say("milliseconds of a version in the store, median")
    say(f"  remembered {median(adding) * 1000:.2f}, counted alone {median(counting) * 1000:.2f},")
    say(f"  counted with {TOGETHER} others {all_s / TOGETHER * 1000:.2f}")


def document(version: NewVersion) -> mongo.Document:
    """Return what counting reads of a document."""
    stored = {"object": {"key": f"acme/{version.document}/t"}, "accepted_at": NOON}
    return {"_id": f"acme/{version.document}", "id": version.document, "state": {"versions": [stored]}}


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print both."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("documents", type=int, nargs="?", default=200)
    try:
        texts = [each["text"] for each in corpus()[: asked.parse_args().documents]]
    except subprocess.CalledProcessError as error:
        raise SystemExit(str(error)) from error
    beside_preparation(texts)
    asyncio.run(in_the_store(texts))


if __name__ == "__main__":
    main()
