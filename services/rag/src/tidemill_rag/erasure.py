"""What rag erases of a deleted project, of a document, and of an end user, whose queries are not stored."""

from collections.abc import Awaitable, Callable

from tidemill_core.application import Caller, SystemClock
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.folders import folders, sweep_folders
from tidemill_kit.erasure.steps import NotYet, Scope, Step, Steps, Target
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.worker import Worker
from tidemill_rag.collections.erase_project import EraseProject
from tidemill_rag.collections.ports import Collections, IndexLeases
from tidemill_rag.errors import IndexBusy
from tidemill_rag.indexing.erase_document import EraseDocument
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.settings import RagSettings
from tidemill_rag.similarity.wiring import SimilarityParts
from tidemill_rag.vectors.ports import VectorStore


def steps(  # noqa: PLR0913 - what it erases
    settings: RagSettings,
    backend: Backend,
    *,
    collections: Collections,
    ledger: Ledger,
    vectors: VectorStore,
    leases: IndexLeases,
    similarity: SimilarityParts,
) -> Steps:
    """Return the steps by scope. Vectors and rows go first, because the collections name them."""
    project = EraseProject(collections=collections, ledger=ledger, vectors=vectors, leases=leases, clock=SystemClock())
    document = EraseDocument(collections=collections, vectors=vectors)
    return {
        Scope.PROJECT: [
            Step(kind="passages", erase=_passages(project), covers=("folder:data_dir",)),
            documents("index_rows", backend.database["ledger"]),
            documents("index_counts", backend.database["ledger_counts"]),
            documents("collections", backend.database["collections"]),
            *similarity.of_project,
            folders("models", settings.data_dir / "models"),
        ],
        Scope.END_USER: similarity.of_end_user,
        Scope.DOCUMENT: [Step(kind="passages", erase=lambda target: document(_caller(target), target.subject))],
    }


def models_of_deleted_projects(settings: RagSettings, backend: Backend) -> Worker:
    """Return the sweep of this process's own disk, where another one does the steps."""
    roots, deleted = [settings.data_dir / "models"], backend.access.revocations.deleted
    return Worker("deleted_models", lambda: sweep_folders(roots, deleted=deleted, spares=backend.holds.spares))


def _passages(erase: EraseProject) -> Callable[[Target], Awaitable[int]]:
    async def passages(target: Target) -> int:
        try:
            return await erase(_caller(target))
        except IndexBusy as error:
            raise NotYet(error.message) from error

    return passages


def _caller(target: Target) -> Caller:
    return Caller.of_service(target.project, "rag")
