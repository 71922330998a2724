"""Parsing and masking in processes of their own: what takes too long, or kills its process, harms nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from tidemill_core.errors import Internal
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, WorkEndedError

R = TypeVar("R")
_MAX_MEMORY_BYTES = 2 * 1024 * MEBIBYTE
"""Address space of a process; a document of 10 MB needs a tenth of it."""
_MAX_WAITING = 1000
"""Documents of one project that may wait for a process; consumers and the edge have fewer in hand."""

IMPORTS = (
    "tidemill_ingest.datasets.masking",
    "tidemill_ingest.documents.preparation",
    "tidemill_ingest.masking.stage",
    "tidemill_ingest.parsing.html",
    "tidemill_ingest.parsing.members",
    "tidemill_ingest.parsing.text",
)


class ProcessingBroke(Internal):
    """The work broke, for its own sake or for the machine's; `why` quotes nothing of what was worked on."""

    def __init__(self, why: str) -> None:
        super().__init__(f"processing the document {why}: try again, then send it in parts")
        self.why = why


@dataclass(frozen=True, slots=True)
class Refused:
    """A DocumentRefused on its way between processes: an error that cannot be copied would break the pool."""

    reason: str
    field: str
    description: str

    @property
    def error(self) -> DocumentRefused:
        """What it was."""
        return DocumentRefused(reason=self.reason, field=self.field, description=self.description)


class Processes:
    """Runs work that may refuse a document.

    What takes more than `cpu_s` of a processor is the document's fault, and it is refused; what takes more than
    `wall_s` in all may be the machine's, and the same call may succeed later. Where there are several processes, one is
    always left for other projects than the one that has most to do.
    """

    def __init__(self, *, workers: int, cpu_s: float, wall_s: float) -> None:
        limits = ProcessLimits(
            workers=workers,
            cpu_s=cpu_s,
            wall_s=wall_s,
            memory_bytes=_MAX_MEMORY_BYTES,
            share=max(1, workers - 1),
            waiting=_MAX_WAITING,
        )
        self._processes = BoundedProcesses(limits, "documents", IMPORTS, background=True)

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        await self._processes.stop()

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what the work returns.

        Raises:
            DocumentRefused: the work raised it, took too much of a processor, or crashed.
            ProcessingBroke: the process died, or the work took too long in all.

        """
        try:
            outcome = await self._processes.run(project, refusable, work, *arguments)
        except WorkEndedError as ended:
            if ended.cause == "crashed":
                description = "ended the process that read it: open it in its program and save it anew"
                raise DocumentRefused(reason="DOCUMENT_BROKEN", field="content", description=description) from ended
            if ended.cause != "cpu":
                raise ProcessingBroke(ended.why) from ended
            description = f"{ended.why} to extract and mask: split it, or simplify its markup"
            raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=description) from ended
        if isinstance(outcome, Refused):
            raise outcome.error
        return cast("R", outcome)

    @property
    def share(self) -> int:
        """How many of the processes one project may have."""
        return self._processes.limits.share

    async def run_together(
        self, project: str, work: Callable[..., Sequence[R | Refused]], *arguments: object
    ) -> Sequence[R | Refused] | None:
        """Return what the work returns for each of several documents; None where it came to no end for one of them.

        Which one that is, the work shows that is done for each alone.
        """
        try:
            return await self._processes.run(project, work, *arguments)
        except WorkEndedError:
            return None


def refusable(work: Callable[..., R], *arguments: object) -> R | Refused:
    """Return what the work returns, or why it refused the document."""
    try:
        return work(*arguments)
    except DocumentRefused as refused:
        (violation,) = refused.violations
        return Refused(refused.reason, violation.field, violation.description)
