import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import psutil
import pytest

from services.ingest.tests.documents.endless import allocate_all_memory, die, fall_asleep, spend
from services.ingest.tests.fakes import ACME, NamesHere, spec
from services.ingest.tests.parsing.files import PDF, pdf
from services.ingest.tests.profiled import ProcessesHere
from tidemill_core.errors import Internal
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.preparation import ProcessPreparation
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.processes import Processes, Refused
from tidemill_ingest.quality.policy import BoilerplatePolicy, DuplicatePolicy, Quality

R = TypeVar("R")


@asynccontextmanager
async def preparing(
    *, workers: int = 1, cpu_s: float = 60.0, wall_s: float = 60.0
) -> AsyncIterator[ProcessPreparation]:
    processes = Processes(workers=workers, cpu_s=cpu_s, wall_s=wall_s)
    preparation = ProcessPreparation(processes, names=NamesHere(), phone_regions=("US",))
    await preparation.start()
    try:
        yield preparation
    finally:
        await preparation.stop()


@pytest.fixture
async def preparation() -> AsyncIterator[ProcessPreparation]:
    async with preparing() as started:
        yield started


async def test_a_document_is_prepared_in_another_process(preparation: ProcessPreparation) -> None:
    said, rules = spec(title="For ada@acme.example"), Quality(min_characters=1)
    prepared = await preparation.prepare(ACME, said, b"# A\n\n10.0.0.1", masking=Masking(), quality=rules)

    assert (prepared.title, prepared.text) == ("For [EMAIL]", "# A\n\n[IP]")
    assert prepared.masked == {"email": 1, "ip": 1}
    assert prepared.measures is not None
    assert prepared.measures.characters == len(prepared.text)
    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_what_texts_are_compared_by_is_made_of_the_text_without_names() -> None:
    preparation = ProcessPreparation(ProcessesHere(), names=NamesHere(), phone_regions=("US",))
    rules = Quality(duplicates=DuplicatePolicy.LINK, boilerplate=BoilerplatePolicy.REMOVE)
    named = "Ada Lovelace wrote the first programs.\n\nAsk Ada Lovelace about them."
    unnamed = named.replace("Ada Lovelace", "[PERSON]")

    masked = await preparation.prepare(ACME, spec(), named.encode(), masking=Masking(model="names@1"), quality=rules)
    same = await preparation.prepare(ACME, spec(), unnamed.encode(), masking=Masking(), quality=rules)

    assert masked.text == unnamed
    assert len(masked.blocks) == 2
    assert (masked.fingerprint, masked.traits, masked.blocks) == (same.fingerprint, same.traits, same.blocks)


TEXTS = [f"# {number}\n\n{'words and ' * number}more, ask ada@acme.example".encode() for number in range(20)]
COMPARED = Quality(duplicates=DuplicatePolicy.LINK, boilerplate=BoilerplatePolicy.REMOVE)


async def prepared_together(
    preparation: ProcessPreparation, contents: Sequence[bytes]
) -> list[Prepared | DocumentRefused]:
    """Return what becomes of documents that come at the same time."""
    prepared = (preparation.prepare(ACME, spec(), each, masking=Masking(), quality=COMPARED) for each in contents)
    outcomes = await asyncio.gather(*prepared, return_exceptions=True)
    return [each for each in outcomes if isinstance(each, Prepared | DocumentRefused)]


async def test_small_documents_that_wait_are_prepared_in_few_calls_as_each_alone_would_be() -> None:
    processes = ProcessesHere()
    preparation = ProcessPreparation(processes, names=NamesHere(), phone_regions=("US",))
    alone = [await preparation.prepare(ACME, spec(), each, masking=Masking(), quality=COMPARED) for each in TEXTS]
    assert processes.together == []

    refused, *others = await prepared_together(preparation, [b"\xff", *TEXTS, b"long " * 10_000])

    assert processes.together == [16, 5]
    assert isinstance(refused, DocumentRefused)
    assert others[:-1] == alone
    assert isinstance(others[-1], Prepared)


class _Many(ProcessesHere):
    """Has seven processes for a project."""

    share = 7


async def test_small_documents_that_come_at_once_are_spread_over_all_processes_of_their_project() -> None:
    processes = _Many()
    preparation = ProcessPreparation(processes, names=NamesHere(), phone_regions=("US",))

    await prepared_together(preparation, TEXTS[:16])

    assert processes.together == [3, 3, 2, 2, 2, 2, 2]


async def test_small_documents_are_prepared_by_one_call_as_far_as_they_are_one_small_document_together() -> None:
    processes = ProcessesHere()
    preparation = ProcessPreparation(processes, names=NamesHere(), phone_regions=("US",))

    await prepared_together(preparation, [b"12 kB of" * 1500] * 5)

    assert processes.together == [2, 2]


class _Breaking(ProcessesHere):
    """Comes to no end with several documents."""

    async def run_together(
        self, project: str, work: Callable[..., Sequence[R | Refused]], *arguments: object
    ) -> Sequence[R | Refused] | None:
        await super().run_together(project, work, *arguments)
        return None


async def test_where_one_of_several_documents_breaks_their_call_each_is_prepared_alone() -> None:
    preparation = ProcessPreparation(_Breaking(), names=NamesHere(), phone_regions=("US",))

    refused, *others = await prepared_together(preparation, [b"\xff", *TEXTS])

    assert isinstance(refused, DocumentRefused)
    assert [each.masked for each in others if isinstance(each, Prepared)] == [{"email": 1}] * len(TEXTS)


async def test_a_call_of_several_that_kills_its_process_says_so_and_harms_no_other(
    preparation: ProcessPreparation,
) -> None:
    assert await preparation._processes.run_together("acme", die) is None  # type: ignore[arg-type]  # noqa: SLF001 - see below

    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_heavy_document_of_one_project_does_not_hold_up_another_project() -> None:
    async with preparing(workers=2, cpu_s=20) as preparation:
        heavy = [asyncio.create_task(preparation._processes.run("greedy", spend)) for _ in range(3)]  # noqa: SLF001 - see above

        assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"
        assert not any(each.done() for each in heavy)
        for each in heavy:
            each.cancel()


async def test_a_refusal_comes_back_as_it_was_raised(preparation: ProcessPreparation) -> None:
    with pytest.raises(DocumentRefused) as refused:
        await preparation.prepare(ACME, spec(), b"\xff", masking=Masking())

    assert refused.value.reason == "NOT_TEXT"
    assert refused.value.violations[0].field == "content"


def fail() -> None:
    raise Uncopied(reason="x", other="y")


class Uncopied(Exception):
    def __init__(self, *, reason: str, other: str) -> None:
        super().__init__(f"{reason} {other}")


async def test_an_error_that_cannot_be_copied_between_processes_harms_no_other_document(
    preparation: ProcessPreparation,
) -> None:
    with pytest.raises(Internal, match="Uncopied"):
        await preparation._processes.run("acme", fail)  # noqa: SLF001 - no document is known to fail so

    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_document_that_takes_too_much_of_the_processor_is_refused_and_the_next_one_is_not() -> None:
    async with preparing(cpu_s=0.3) as preparation:
        with pytest.raises(DocumentRefused) as refused:
            await preparation._processes.run("acme", spend)  # noqa: SLF001 - no document is known to take that long

        assert refused.value.reason == "DOCUMENT_TOO_COMPLEX"
        assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_document_that_takes_too_long_otherwise_may_be_tried_again() -> None:
    async with preparing(wall_s=5.0) as preparation:
        with pytest.raises(Internal, match="try again"):
            await preparation._processes.run("acme", fall_asleep)  # noqa: SLF001 - no document is known to take that long

        assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_process_that_dies_is_replaced(preparation: ProcessPreparation) -> None:
    with pytest.raises(Internal):
        await preparation._processes.run("acme", die)  # noqa: SLF001 - no document is known to kill it

    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_document_that_takes_too_much_memory_harms_no_other_one(preparation: ProcessPreparation) -> None:
    with pytest.raises(Internal, match="MemoryError"):
        await preparation._processes.run("acme", allocate_all_memory)  # noqa: SLF001 - a document of that kind takes long to make

    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_pool_that_broke_is_replaced(preparation: ProcessPreparation) -> None:
    async with preparation._processes._processes._processes.one() as pool:  # noqa: SLF001 - nothing is known to break it
        pool.stop()  # type: ignore[no-untyped-call]

    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_the_event_loop_goes_on_while_a_long_document_is_masked(preparation: ProcessPreparation) -> None:
    work = asyncio.create_task(preparation.prepare(ACME, spec(), b"word 10.0.0.1 " * 40_000, masking=Masking()))
    started = last = time.monotonic()
    longest_pause_s = 0.0
    while not work.done():
        await asyncio.sleep(0.005)
        longest_pause_s, last = max(longest_pause_s, time.monotonic() - last), time.monotonic()

    assert (await work).masked == {"ip": 40_000}
    assert longest_pause_s < (last - started) / 2


PARENT = """
import asyncio
from tidemill_ingest.documents.preparation import ProcessPreparation
from tidemill_ingest.processes import Processes

async def main():
    processes = Processes(workers=1, cpu_s=60.0, wall_s=60.0)
    await ProcessPreparation(processes, names=None, phone_regions=("US",)).start()
    print("started", flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_no_process_outlives_a_killed_parent(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("parent") / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220, S603
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == b"started\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()

    assert children
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert not alive


def crash() -> None:
    os.abort()


async def test_a_document_whose_reading_crashes_is_refused_and_not_tried_again(preparation: ProcessPreparation) -> None:
    with pytest.raises(DocumentRefused) as refused:
        await preparation._processes.run("acme", crash)  # noqa: SLF001 - no document is known to crash a library

    assert refused.value.reason == "DOCUMENT_BROKEN"
    assert await preparation.mask("acme", "ada@acme.example") == "[EMAIL]"


async def test_a_pdf_is_read_in_another_process(preparation: ProcessPreparation) -> None:
    prepared = await preparation.prepare(ACME, spec(media_type=PDF), pdf([("One", 11)]), masking=Masking())

    assert (prepared.text, len(prepared.anchors)) == ("One", 1)
