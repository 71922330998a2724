"""Bytes in, what may be stored out: extraction, cleaning and masking, in processes of their own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import structlog

from tidemill_core.characters import clean, clean_line
from tidemill_core.errors import Internal
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.domain.parts import masked
from tidemill_ingest.documents.domain.submission import DocumentSpec
from tidemill_ingest.documents.ports import Prepared
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.stage import DEFAULT_PHONE_REGIONS, MaskingStage
from tidemill_ingest.parsing.text import extract
from tidemill_ingest.stages import PREPARATION
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, WorkEndedError

R = TypeVar("R")
_log = structlog.get_logger(__name__)
_TITLE_LENGTH = 500
_MAX_MEMORY_BYTES = 2 * 1024 * MEBIBYTE
"""Address space of a process; a document of 10 MB needs a tenth of it."""
_MAX_WAITING = 1000
"""Documents of one project that may wait for a process; consumers and the edge have fewer in hand."""
_EXAMPLES_CHARS = MEBIBYTE
"""How much of a batch is masked at once, so that documents need not wait for all of it."""
_MASKING_ATTEMPTS = 3
"""After which an example whose masking breaks is taken to be the cause itself, and is left out."""


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
    `wall_s` in all may be the machine's, and the same call may succeed later. Where there are several processes, one is
    always left for other projects than the one that has most to do.
    """

    def __init__(self, *, workers: int, cpu_s: float, wall_s: float, phone_regions: Sequence[str]) -> None:
        self._phone_regions = tuple(phone_regions)
        limits = ProcessLimits(
            workers=workers,
            cpu_s=cpu_s,
            wall_s=wall_s,
            memory_bytes=_MAX_MEMORY_BYTES,
            share=max(1, workers - 1),
            waiting=_MAX_WAITING,
        )
        self._processes = BoundedProcesses(limits, "documents")

    async def start(self) -> None:
        """Start the processes, so that the first document does not wait for them."""
        await self._run("", mask_text, "", self._phone_regions)

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        await self._processes.stop()

    async def prepare(self, project: str, spec: DocumentSpec, content: bytes, *, masking: Masking) -> Prepared:
        """See `ports.Preparation.prepare`."""
        with PREPARATION.time():
            return await self._run(project, prepare_document, spec, content, masking, self._phone_regions)

    async def mask(self, project: str, text: str) -> str:
        """See `ports.Preparation.mask`."""
        return await self._run(project, mask_text, text, self._phone_regions)

    async def mask_examples(self, project: str, examples: Sequence[Example]) -> Sequence[Example]:
        """See `ports.Preparation.mask_examples`."""
        done: list[Example] = []
        for some in _in_batches(examples):
            done += await self._mask_some(project, some)
        return done

    async def _mask_some(self, project: str, some: Sequence[Example]) -> Sequence[Example]:
        """Mask them together; where that breaks, half by half, and what breaks alone is left out."""
        try:
            return await self._mask_together(project, some)
        except (DocumentRefused, _ProcessingBrokeError) as broken:
            if len(some) == 1:
                _log.warning("example_left_out", example=some[0].id, why=str(broken))
                return []
        half = len(some) // 2
        return [*await self._mask_some(project, some[:half]), *await self._mask_some(project, some[half:])]

    async def _mask_together(self, project: str, some: Sequence[Example]) -> Sequence[Example]:
        """Mask them, again where the process broke: that may have been the machine's fault."""
        attempts = _MASKING_ATTEMPTS if len(some) == 1 else 1
        while True:
            attempts -= 1
            try:
                return await self._run(project, mask_examples, some, self._phone_regions)
            except _ProcessingBrokeError:
                if not attempts:
                    raise

    async def _run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        try:
            outcome = await self._processes.run(project, _refusable, work, *arguments)
        except WorkEndedError as ended:
            if ended.cause != "cpu":
                raise _ProcessingBrokeError(ended.why) from ended
            description = f"{ended.why} to extract and mask: split it, or simplify its markup"
            raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=description) from ended
        if isinstance(outcome, _Refused):
            raise DocumentRefused(reason=outcome.reason, field=outcome.field, description=outcome.description)
        return cast("R", outcome)


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


def _refusable(work: Callable[..., R], *arguments: object) -> R | _Refused:
    try:
        return work(*arguments)
    except DocumentRefused as refused:
        (violation,) = refused.violations
        return _Refused(refused.reason, violation.field, violation.description)


def _in_batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
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
