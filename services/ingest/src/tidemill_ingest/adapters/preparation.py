"""Bytes in, what may be stored out: extraction, cleaning and masking, in processes of their own."""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from pebble import ProcessExpired, ProcessPool

from tidemill_ingest.adapters.extraction.text import extract
from tidemill_ingest.adapters.masking.stage import DEFAULT_PHONE_REGIONS, MaskingStage
from tidemill_ingest.adapters.stages import PREPARATION
from tidemill_ingest.application.ports import Prepared
from tidemill_ingest.domain.errors import BatchUnusable, DocumentRefused
from tidemill_ingest.domain.example import Example
from tidemill_ingest.domain.limits import MEBIBYTE
from tidemill_ingest.domain.masking import Masking
from tidemill_ingest.domain.parts import masked
from tidemill_ingest.domain.submission import DocumentSpec
from tidemill_kit.characters import clean, clean_line
from tidemill_kit.errors import Internal, isolated

R = TypeVar("R")
_TITLE_LENGTH = 500
_MOST_MEMORY_BYTES = 2 * 1024 * MEBIBYTE
"""Address space of a process; a document of 10 MB needs a tenth of it."""
_EXAMPLES_CHARS = MEBIBYTE
"""How much of a batch is masked at once, so that documents need not wait for all of it."""
_MASKING_ATTEMPTS = 3
"""After which examples whose masking breaks are taken to be the cause themselves, and their batch is refused."""
_log = structlog.get_logger(__name__)


def prepare_document(
    spec: DocumentSpec, content: bytes, masking: Masking, phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
) -> Prepared:
    """Return what may be stored of a document: nothing in it has not passed the masking stage.

    Raises:
        DocumentRefused: the bytes are no text, or hold none.

    """
    extracted = extract(content, spec.media_type)
    stage = MaskingStage(masking, phone_regions)
    title = stage.mask(clean_line(spec.title) or _shortened(extracted.title))
    return Prepared(
        media_type=extracted.media_type,
        text=stage.mask(extracted.text),
        title=title,
        uri=stage.mask(clean_line(spec.uri)),
        metadata={
            name: stage.mask_fact(name, clean(fact) if isinstance(fact, str) else fact)
            for name, fact in spec.metadata.items()
        },
        steps=(*extracted.steps, stage.name()),
        masked=dict(sorted(stage.masked.items())),
    )


def mask_text(text: str, phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS) -> str:
    """Return a short text with everything masked."""
    return MaskingStage(Masking(), phone_regions).mask(clean(text))


def mask_examples(
    examples: Sequence[Example], phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
) -> Sequence[Example]:
    """Return the examples with everything masked."""
    stage = MaskingStage(Masking(), phone_regions)
    return [masked(each, stage.mask) for each in examples]


class ProcessPreparation:
    """Implements `ports.Preparation`. A document that takes too long, or kills its process, harms no other one.

    What takes more than `cpu_s` of a processor is the document's fault, and it is refused; what takes more than
    `wall_s` in all may be the machine's, and the same call may succeed later.
    """

    def __init__(self, *, workers: int, cpu_s: float, wall_s: float, phone_regions: Sequence[str]) -> None:
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._phone_regions = tuple(phone_regions)
        self._workers = workers
        self._pool = self._new_pool()

    async def start(self) -> None:
        """Start the processes, so that the first document does not wait for them."""
        await self._run(mask_text, "", self._phone_regions)

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves this one out
        await asyncio.to_thread(self._pool.join)

    async def prepare(self, spec: DocumentSpec, content: bytes, *, masking: Masking) -> Prepared:
        """See `ports.Preparation.prepare`."""
        with PREPARATION.time():
            return await self._run(prepare_document, spec, content, masking, self._phone_regions)

    async def mask(self, text: str) -> str:
        """See `ports.Preparation.mask`."""
        return await self._run(mask_text, text, self._phone_regions)

    async def mask_examples(self, examples: Sequence[Example]) -> Sequence[Example]:
        """See `ports.Preparation.mask_examples`."""
        done: list[Example] = []
        for some in _some_at_once(examples):
            done += await self._mask_some(
                some, place=f"examples {len(done) + 1} to {len(done) + len(some)} of the batch"
            )
        return done

    async def _mask_some(self, some: Sequence[Example], *, place: str) -> Sequence[Example]:
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._run(mask_examples, some, self._phone_regions)
            except DocumentRefused as refused:
                message = f"{place}: masking them {refused.violations[0].description}"
                raise BatchUnusable(reason="BATCH_INVALID", message=message) from refused
            except _ProcessingBrokeError as broken:
                if attempts == _MASKING_ATTEMPTS:
                    message = (
                        f"{place}: masking them {broken.why}, {attempts} times: look into ingest's log; "
                        "the curation's next batch offers them again"
                    )
                    raise BatchUnusable(reason="BATCH_INVALID", message=message) from broken

    def _new_pool(self) -> ProcessPool:
        # Neither fork after gRPC has its threads, nor a stray child when this process is killed.
        context = multiprocessing.get_context("spawn")
        return ProcessPool(max_workers=self._workers, initializer=_begin, context=context)

    async def _run(self, work: Callable[..., R], *arguments: object) -> R:
        if not self._pool.active:
            _log.error("preparation_pool_replaced")
            self._pool = self._new_pool()
        future = self._pool.schedule(_outcome, args=(self._cpu_s, work, *arguments), timeout=self._wall_s)
        try:
            outcome: R | _Refused | _Failed = await asyncio.wrap_future(future)
        except TimeoutError as error:
            _log.warning("preparation_stopped", after_s=self._wall_s)
            why = f"took more than {self._wall_s:g} s"
            raise _ProcessingBrokeError(why) from error
        except ProcessExpired as error:
            _log.warning("preparation_process_died", exit_code=error.exitcode)
            why = "ended its process"
            raise _ProcessingBrokeError(why) from error
        if isinstance(outcome, _Refused):
            raise DocumentRefused(reason=outcome.reason, field=outcome.field, description=outcome.description)
        if isinstance(outcome, _Failed):
            _log.error("preparation_failed", error=outcome.error)
            why = f"failed with {outcome.error}"
            raise _ProcessingBrokeError(why)
        return outcome


class _ProcessingBrokeError(Internal):
    """The work broke, for its own sake or for the machine's; `why` quotes nothing of what was worked on."""

    def __init__(self, why: str) -> None:
        super().__init__(f"processing the document {why}: try again, then send it in parts")
        self.why = why


@dataclass(frozen=True, slots=True)
class _Refused:
    """A DocumentRefused on its way between processes: an error that cannot be copied would break the pool."""

    reason: str
    field: str
    description: str


@dataclass(frozen=True, slots=True)
class _Failed:
    """Any other error; only its name, because its text may quote the document."""

    error: str


class _CpuTimeSpentError(Exception):
    """The document has had all the processor's time that there is for one."""


def _outcome(cpu_s: float, work: Callable[..., R], *arguments: object) -> R | _Refused | _Failed:
    try:
        with isolated():
            signal.signal(signal.SIGVTALRM, _stop_spending)
            signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
            return work(*arguments)
    except DocumentRefused as refused:
        (violation,) = refused.violations
        return _Refused(refused.reason, violation.field, violation.description)
    except _CpuTimeSpentError:
        description = f"takes more than {cpu_s:g} s to extract and mask: split it, or simplify its markup"
        return _Refused("DOCUMENT_TOO_COMPLEX", "content", description)
    except Exception as error:  # noqa: BLE001 - the edge of the process
        return _Failed(type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop_spending(_signal: int, _frame: object) -> None:
    raise _CpuTimeSpentError


def _some_at_once(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    start = size = 0
    for stop, example in enumerate(examples, start=1):
        size += len(example.line)
        if size >= _EXAMPLES_CHARS:
            yield examples[start:stop]
            start, size = stop, 0
    if start < len(examples):
        yield examples[start:]


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"


def _begin() -> None:
    """Bound this process: in memory, so that one document cannot take the machine's, and in life by its parent's."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
    _die_with_parent()


def _die_with_parent() -> None:
    """End this process when its parent does, however that ends; Ctrl-C is for the parent to handle."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
