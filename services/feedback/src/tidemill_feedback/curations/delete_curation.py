"""Delete a curation: it completes no more; the feedback stays."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_feedback.curations.crud import check_version
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.reactions.ports import CurationStore, Enqueue


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCuration:
    """Emits nothing; the worker drops what was counted."""

    curations: CurationStore
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, curation_id: str, *, version: int, request: Request, validate_only: bool = False
    ) -> Curation:
        """Return the curation as deleted; `version` 0 takes any.

        Raises:
            CurationNotFound: the caller's project has none with this id.
            Conflict: it changed since the version that the caller has seen.

        """

        def delete(curation: Curation) -> None:
            check_version(curation, version)
            curation.delete()

        if validate_only:
            current = await self.curations.get(caller.project, curation_id)
            delete(current)
            return current
        deleted = await self.curations.update(caller.project, curation_id, delete, request=request)
        self.enqueue(deleted.ref)
        return deleted
