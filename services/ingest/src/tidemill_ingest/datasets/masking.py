"""Examples in, masked examples out, in processes of their own."""

from collections.abc import Iterator, Sequence

import structlog

from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.domain.parts import masked
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE
from tidemill_ingest.masking.kinds import DEFAULT_PHONE_REGIONS, Masking
from tidemill_ingest.processes import Processes, ProcessingBroke

_log = structlog.get_logger(__name__)
_EXAMPLES_CHARS = MEBIBYTE
"""How much of a batch is masked at once, so that documents need not wait for all of it."""
_MASKING_ATTEMPTS = 3
"""After which an example whose masking breaks is taken to be the cause itself, and is left out."""


def mask_examples(
    examples: Sequence[Example], phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
) -> Sequence[Example]:
    """Return the examples with everything masked."""
    from tidemill_ingest.masking.stage import MaskingStage  # noqa: PLC0415 - libraries that only the processes use

    stage = MaskingStage(Masking(), phone_regions)
    return [masked(each, stage.mask) for each in examples]


class ProcessExampleMasking:
    """Implements `ports.ExampleMasking`."""

    def __init__(self, processes: Processes, *, phone_regions: Sequence[str]) -> None:
        self._processes = processes
        self._phone_regions = tuple(phone_regions)

    async def mask_examples(self, project: str, examples: Sequence[Example]) -> Sequence[Example]:
        """See `ports.ExampleMasking.mask_examples`."""
        done: list[Example] = []
        for some in _in_batches(examples):
            done += await self._mask_some(project, some)
        return done

    async def _mask_some(self, project: str, some: Sequence[Example]) -> Sequence[Example]:
        """Mask them together; where that breaks, half by half, and what breaks alone is left out."""
        try:
            return await self._mask_together(project, some)
        except (DocumentRefused, ProcessingBroke) as broken:
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
                return await self._processes.run(project, mask_examples, some, self._phone_regions)
            except ProcessingBroke:
                if not attempts:
                    raise


def _in_batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    start = size = 0
    for stop, example in enumerate(examples, start=1):
        size += len(example.line)
        if size >= _EXAMPLES_CHARS:
            yield examples[start:stop]
            start, size = stop, 0
    if start < len(examples):
        yield examples[start:]
