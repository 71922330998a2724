"""Polling, put together."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from shutil import rmtree

from tidemill_core.application import ResourceKey, SystemClock
from tidemill_core.errors import digest_of
from tidemill_core.origins import AllowedHosts
from tidemill_ingest.feature import Wired
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling.git import IMPORTS
from tidemill_ingest.polling.mongo import POLLS, MongoPolledObjects, PollNotFound, SourcesToPoll
from tidemill_ingest.polling.origins import DeclaredOrigins
from tidemill_ingest.polling.poll_source import PollSource
from tidemill_ingest.polling.ports import SourcePolls, Submissions
from tidemill_ingest.polling.reconcile import polling_controller
from tidemill_ingest.projects import Projects
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.ports import Sources
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.runtime.operator_secrets import OperatorSecrets
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits

_POLLS, _OBJECTS = "source_polls", "polled_objects"


def source_polls(backend: Backend) -> SourcePolls:
    """Return how the polls of sources go."""
    return backend.aggregates(_POLLS, POLLS, missing=PollNotFound)


def wire_polling(  # noqa: PLR0913 - what polling shares with other features
    backend: Backend,
    settings: IngestSettings,
    *,
    sources: Sources,
    polls: SourcePolls,
    submissions: Submissions,
    projects: Projects,
    environment: Mapping[str, str],
) -> tuple[Wired, Callable[[ResourceKey], None]]:
    """Put together what polls sources, and what has one polled soon that is due.

    `environment` holds secrets of the operator.
    """
    clock, database = SystemClock(), backend.database
    poll = PollSource(
        sources=sources,
        polls=polls,
        objects=MongoPolledObjects(database[_OBJECTS]),
        origins=_origins(backend, settings, environment),
        submissions=submissions,
        projects=projects,
        clock=clock,
        conversion=digest_of(repr(settings.limits)),
    )
    controller = polling_controller(
        poll,
        pending=backend.indexed(SourcesToPoll(database["sources"], database[_POLLS], clock.now)),
        leases=backend.leases("source_leases"),
        poll_interval=timedelta(seconds=settings.polling_poll_interval_s),
        max_concurrent=settings.polling_max_concurrent,
    )
    of_project = [documents(name.replace("_", " "), database[name]) for name in (_POLLS, _OBJECTS)]
    return Wired(workers=[controller], erasures={Scope.PROJECT: of_project}), controller.enqueue


def _origins(backend: Backend, settings: IngestSettings, environment: Mapping[str, str]) -> DeclaredOrigins:
    processes = BoundedProcesses(
        ProcessLimits(
            workers=settings.polling_max_concurrent,
            cpu_s=settings.git_cpu_s,
            wall_s=settings.git_wall_s,
            memory_bytes=settings.git_memory_mb * 1024**2,
            share=max(1, settings.polling_max_concurrent - 1),
        ),
        "repositories",
        IMPORTS,
        background=True,
    )
    folder = settings.data_dir / "repositories"
    backend.on_start(lambda: asyncio.to_thread(rmtree, folder, ignore_errors=True))
    backend.on_stop(processes.stop)
    return DeclaredOrigins(
        processes=processes,
        folder=folder,
        secrets=OperatorSecrets("INGEST_SECRET_", environment, settings.secrets_dir),
        allowed=AllowedHosts.of(settings.origin_allowed_hosts),
        limits=OriginLimits(
            max_objects=settings.origin_max_files,
            max_bytes=settings.max_document_bytes,
            timeout_s=settings.origin_timeout_s,
            wall_s=settings.origin_wall_s,
            max_pack_bytes=settings.git_max_bytes,
        ),
    )
