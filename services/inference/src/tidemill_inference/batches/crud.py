"""Begin, read and cancel batches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request, ResourceKey, derived_id
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, create, label_violations, refuse
from tidemill_inference.batches.domain.batch import DEFAULT_MAX_WINDOW, Author, Batch
from tidemill_inference.batches.ports import Batches
from tidemill_inference.files.domain.errors import FileNotFound, FileRestricted
from tidemill_inference.files.domain.stored_file import FilePurpose
from tidemill_inference.files.ports import Files

MAX_METADATA = 16
MAX_METADATA_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What a caller asks for."""

    endpoint: str
    input_file: str
    completion_window: timedelta
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCrud:
    """A batch is recorded here, and carried out by a worker."""

    batches: Batches
    files: Files
    clock: Clock
    enqueue: Callable[[ResourceKey], None]
    max_window: timedelta = DEFAULT_MAX_WINDOW

    async def create(self, caller: Caller, given: BatchRequest, write: Write) -> Batch:
        """Record a batch; the worker checks its lines, each of which has an error of its own.

        Raises:
            InvalidInput: endpoint, file, window or labels cannot be.
            FileRestricted: the file is another's.
            QuotaReached: the project has as many batches as it may have.

        """
        batch = Batch(
            id=f"batch_{derived_id(caller.project, 'batch', write.request.id).replace('-', '')}",
            project=caller.project,
            labels=given.labels,
            endpoint=given.endpoint,
            input_file=given.input_file,
            author=Author.of(caller),
            completion_window=given.completion_window,
            expire_time=self.clock.now() + given.completion_window,
        )
        batch.check(self.max_window)
        refuse(label_violations("labels", given.labels, max_labels=MAX_METADATA, max_length=MAX_METADATA_LENGTH))
        await self._check_file(caller, given.input_file)
        created = await create(self.batches, batch, write)
        if not write.validate_only:
            self.enqueue(ResourceKey(project=created.project, id=created.id))
        return created

    async def get(self, caller: Caller, batch_id: str) -> Batch:
        """Return one batch.

        Raises:
            BatchNotFound: the project has none with this id.

        """
        return await self.batches.get(caller.project, batch_id)

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[Batch]:
        """Return a page of batches."""
        return await self.batches.list(caller.project, page=page)

    async def cancel(self, caller: Caller, batch_id: str, *, request: Request) -> Batch:
        """Ask the worker to end a batch; one at its end is returned as it is.

        Raises:
            BatchNotFound: the project has none with this id.
            FileRestricted: it is another's.

        """
        now = self.clock.now()

        def change(batch: Batch) -> None:
            if not batch.changeable_by(caller):
                raise FileRestricted(batch.id)
            batch.cancel(now=now)

        batch = await self.batches.update(caller.project, batch_id, change, request=request)
        self.enqueue(ResourceKey(project=batch.project, id=batch.id))
        return batch

    async def _check_file(self, caller: Caller, file_id: str) -> None:
        try:
            file = await self.files.get(caller.project, file_id)
        except FileNotFound as error:
            raise InvalidInput.at(field="input_file", text=error.message) from error
        if file.purpose is not FilePurpose.BATCH:
            raise InvalidInput.at(
                field="input_file", text=f"{file_id} is a result of a batch: upload a file of requests"
            )
        if not file.readable_by(caller):
            raise FileRestricted(file_id)
