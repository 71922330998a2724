"""The sweep of documents, what sources withhold after their rules changed, and what is inside of documents."""

from dataclasses import asdict
from datetime import timedelta

import structlog

from tidemill_core.application import Page, Requeue, ResourceKey
from tidemill_ingest.documents.duplicates import JudgeDuplicates
from tidemill_ingest.documents.ports import SWEEP, SharedBlocks, SweepKey
from tidemill_ingest.documents.sweep import Sweep
from tidemill_ingest.documents.unpack_document import UnpackDocument
from tidemill_ingest.documents.withheld import JudgeDocuments
from tidemill_ingest.projects import Projects
from tidemill_kit.workers.controller import Controller, Holder, Pending

_log = structlog.get_logger(__name__)


def sweep_controller(sweep: Sweep, *, leases: Holder, poll_interval: timedelta) -> Controller[SweepKey]:
    """Return the controller that sweeps the texts of documents and what is left in quarantine."""

    async def swept(_: SweepKey, epoch: int) -> None:
        _log.info("sweep_finished", **asdict(await sweep(epoch=epoch)))

    async def pending(_: str, /, *, without: frozenset[str]) -> Page[SweepKey]:  # noqa: ARG001 - it is of no project
        return Page(items=[SWEEP])

    return Controller(
        "document_sweep", reconcile=swept, pending=pending, leases=leases, max_concurrent=1, poll_interval=poll_interval
    )


def quality_controller(
    judge: JudgeDocuments, *, pending: Pending[ResourceKey], leases: Holder, poll_interval: timedelta
) -> Controller[ResourceKey]:
    """Return the controller that decides again what a source withholds, once its rules of quality changed."""

    async def judged(name: ResourceKey, _: int) -> None:
        documents = await judge(name.project, name.id)
        _log.info("withheld_documents_judged", project=name.project, source=name.id, documents=documents)

    return Controller(
        "document_quality",
        reconcile=judged,
        pending=pending,
        leases=leases,
        max_concurrent=1,
        poll_interval=poll_interval,
    )


def unpack_controller(
    unpack: UnpackDocument,
    *,
    pending: Pending[ResourceKey],
    leases: Holder,
    poll_interval: timedelta,
    max_concurrent: int,
) -> Controller[ResourceKey]:
    """Return the controller that makes documents of what is inside of archives and mails."""

    async def unpacked(name: ResourceKey, _: int) -> Requeue | None:
        return await unpack(name)

    return Controller(
        "members",
        reconcile=unpacked,
        pending=pending,
        leases=leases,
        max_concurrent=max_concurrent,
        poll_interval=poll_interval,
    )


def duplicates_controller(
    judge: JudgeDuplicates, *, pending: Pending[ResourceKey], poll_interval: timedelta
) -> Controller[ResourceKey]:
    """Return the controller that decides again what is a duplicate of what; two processes may do it at once."""

    async def judged(name: ResourceKey, _: int) -> None:
        await judge(name.project, name.id)

    return Controller(
        "document_duplicates", reconcile=judged, pending=pending, max_concurrent=2, poll_interval=poll_interval
    )


def forgotten_sources_controller(
    blocks: SharedBlocks, *, pending: Pending[ResourceKey], leases: Holder, poll_interval: timedelta, projects: Projects
) -> Controller[ResourceKey]:
    """Return the controller that removes what was counted of deleted sources."""

    async def removed(name: ResourceKey, _: int) -> None:
        await blocks.remove_forgotten(name.project, name.id)

    return Controller(
        "forgotten_sources",
        reconcile=removed,
        pending=pending,
        leases=leases,
        max_concurrent=1,
        poll_interval=poll_interval,
        deleted=projects.deleted,
    )
