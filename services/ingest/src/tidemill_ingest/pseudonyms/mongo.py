"""Keys of projects in MongoDB."""

from tidemill_core.errors import NotFound
from tidemill_ingest.pseudonyms.domain import ProjectKey
from tidemill_kit.mapping import DocumentCodec

PROJECT_KEYS = DocumentCodec(ProjectKey)
COLLECTION = "pseudonym_keys"


class ProjectKeyNotFound(NotFound):
    """The project has no pseudonyms yet."""
