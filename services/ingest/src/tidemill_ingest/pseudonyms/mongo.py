"""Keys of projects in MongoDB, and those that an earlier key of the operator still encrypts."""

from tidemill_core.errors import NotFound
from tidemill_ingest.pseudonyms.domain import ProjectKey
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

PROJECT_KEYS = DocumentCodec(ProjectKey)
COLLECTION = "pseudonym_keys"


class ProjectKeyNotFound(NotFound):
    """The project has no pseudonyms yet."""


def under_other_keys(collection: Collection, first: str) -> PendingDocuments:
    """Return what finds the keys that are not under the operator's first one."""
    return PendingDocuments(collection, {"state.envelope.key_id": {"$ne": first}}, index="state.envelope.key_id")
