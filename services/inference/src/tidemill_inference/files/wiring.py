"""Puts the files together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill.inference.v1.file_service_pb2_grpc import add_FileServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_inference.files.crud import FileCrud
from tidemill_inference.files.domain.errors import FileNotFound
from tidemill_inference.files.erase_lines import EraseLines
from tidemill_inference.files.forget_files import ForgetFiles
from tidemill_inference.files.grpc import GrpcFileService
from tidemill_inference.files.mongo import FILES, MongoOldFiles
from tidemill_inference.files.object_contents import ObjectContents
from tidemill_inference.files.ports import Files
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.erasure.steps import Step, Target
from tidemill_kit.grpc.server import Registration
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_kit.service.backend import Backend

_MB = 1024 * 1024
_FOLDER = ".files"
"""No project's name, as those of the other folders there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileParts:
    """What files are made of."""

    files: Files
    contents: ObjectContents
    crud: FileCrud
    servicer: Registration
    forget: ForgetFiles
    erase_lines: EraseLines
    of_projects: Sequence[Step]
    of_end_users: Sequence[Step]


def upload_places(settings: InferenceSettings, *, kind: str = "uploads") -> UploadPlaces:
    """Return places for uploads of one API, or for what is read as they are written."""
    return UploadPlaces(
        Patience(
            max_concurrent=settings.max_concurrent_uploads,
            of_project=settings.uploads_of_project,
            idle_s=settings.upload_idle_s,
            whole_s=settings.upload_whole_s,
        ),
        kind=kind,
    )


def wire_files(settings: InferenceSettings, backend: Backend) -> FileParts:
    """Return what keeps them."""
    clock = SystemClock()
    files = backend.aggregates(
        "files", FILES, missing=FileNotFound, lists=[("purpose",)], quota=settings.quota("files")
    )
    contents = ObjectContents(
        backend.own_bucket(settings.file_bucket),
        settings.data_dir / _FOLDER,
        max_bytes=settings.file_max_mb * _MB,
        setting="INFERENCE_FILE_MAX_MB",
    )
    backend.on_start(lambda: asyncio.to_thread(contents.prepare))
    crud = FileCrud(
        files=files,
        contents=contents,
        clock=clock,
        keep=timedelta(days=settings.file_days),
        reading=upload_places(settings, kind="downloads").held,
    )
    erase = EraseLines(files=files, contents=contents)

    async def lines_of(target: Target) -> int:
        return await erase(target.project, target.subject)

    stored = backend.database["files"]
    return FileParts(
        files=files,
        contents=contents,
        crud=crud,
        servicer=(add_FileServiceServicer_to_server, GrpcFileService(crud, upload_places(settings))),
        forget=ForgetFiles(
            files=backend.indexed(MongoOldFiles(stored)),
            contents=contents,
            retained=Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.ANSWERS),
            clock=clock,
        ),
        erase_lines=erase,
        of_projects=[documents("files", stored), objects("contents of files", backend.objects, settings.file_bucket)],
        of_end_users=[Step(kind="lines of files", erase=lines_of)],
    )
