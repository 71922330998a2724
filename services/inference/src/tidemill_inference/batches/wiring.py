"""Puts the batches together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill.inference.v1.batch_service_pb2_grpc import add_BatchServiceServicer_to_server
from tidemill_core.application import Requeue, ResourceKey, SystemClock
from tidemill_inference.batches.crud import BatchCrud
from tidemill_inference.batches.domain.errors import BatchNotFound
from tidemill_inference.batches.erasure import CancelBatches
from tidemill_inference.batches.forget_batches import ForgetBatches
from tidemill_inference.batches.grpc import GrpcBatchService
from tidemill_inference.batches.mongo import BATCHES, MongoOldBatches, MongoResults, ResultsOfEndUsers, pending_batches
from tidemill_inference.batches.places import LinePlaces
from tidemill_inference.batches.ports import AnswerLine, LiveTraffic
from tidemill_inference.batches.revoked_authors import RevokedAuthors
from tidemill_inference.batches.run_batch import LineLimits, RunBatch
from tidemill_inference.batches.write_results import WriteResults
from tidemill_inference.files.ports import Contents, Files
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.documents import by_project, documents, documents_of_jobs
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.erasure.steps import Step, Target
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchParts:
    """What batches are made of."""

    servicer: Registration
    controller: Controller[ResourceKey]
    forget: ForgetBatches
    of_projects: Sequence[Step]
    of_end_users: Sequence[Step]


def wire_batches(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    files: Files,
    contents: Contents,
    answer: AnswerLine,
    live: LiveTraffic,
) -> BatchParts:
    """Return what carries them out; `live` are the places for answers."""
    clock, keep, tick = SystemClock(), timedelta(days=settings.file_days), timedelta(seconds=settings.batch_tick_s)
    batches = backend.aggregates("batches", BATCHES, missing=BatchNotFound, quota=settings.quota("batches"))
    rows = backend.database["batch_results"]
    erased = backend.erased.end_users
    results, leases = backend.indexed(MongoResults(rows)), backend.leases("batch_leases")
    run = RunBatch(
        batches=batches,
        files=files,
        contents=contents,
        results=results,
        write=WriteResults(results=results, files=files, contents=contents, erased=erased, clock=clock, keep=keep),
        erased=erased,
        answer=answer,
        authors=RevokedAuthors(backend.access.revocations),
        places=LinePlaces(live, at_most=settings.batch_lines_max_concurrent),
        limits=_limits(settings),
        clock=clock,
        tick=tick,
        turn=timedelta(seconds=settings.batch_turn_s),
    )
    controller = _running(settings, backend, run, leases)
    crud = BatchCrud(
        batches=batches,
        files=files,
        clock=clock,
        enqueue=controller.enqueue,
        max_window=timedelta(days=settings.batch_max_window_days),
    )

    async def lines_of(target: Target) -> int:
        return await ResultsOfEndUsers(rows).of_end_user(target.project, target.subject)

    return BatchParts(
        servicer=(add_BatchServiceServicer_to_server, GrpcBatchService(crud)),
        controller=controller,
        forget=_forgetting(backend, results, keep=keep),
        of_projects=[
            documents_of_jobs(
                "batches",
                backend.database["batches"],
                end=CancelBatches(batches=batches, clock=clock),
                leases=leases,
            ),
            documents("results of batches", rows, where=by_project),
        ],
        of_end_users=[Step(kind="results of batches", erase=lines_of)],
    )


def _forgetting(backend: Backend, results: MongoResults, *, keep: timedelta) -> ForgetBatches:
    return ForgetBatches(
        batches=backend.indexed(MongoOldBatches(backend.database["batches"])),
        results=results,
        retained=Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.ANSWERS),
        clock=SystemClock(),
        keep=keep,
    )


def _limits(settings: InferenceSettings) -> LineLimits:
    return LineLimits(
        lines=settings.batch_max_lines,
        line_bytes=settings.max_body_bytes,
        at_once=settings.batch_lines_max_concurrent,
    )


def _running(settings: InferenceSettings, backend: Backend, run: RunBatch, leases: Leases) -> Controller[ResourceKey]:
    """Return the controller that carries batches out, each by one replica at a time."""

    async def reconcile(key: ResourceKey, epoch: int) -> Requeue | None:
        return await run(key, epoch=epoch)

    return Controller(
        "batches",
        reconcile=reconcile,
        pending=backend.indexed(pending_batches(backend.database["batches"])),
        leases=leases,
        max_concurrent=settings.batch_max_concurrent,
        poll_interval=timedelta(seconds=settings.batch_poll_interval_s),
    )
