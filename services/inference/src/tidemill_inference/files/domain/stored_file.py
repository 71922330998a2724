"""A file of a project: the input or a result of a batch. Its bytes are in the object store."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_core.application import Caller, derived_id
from tidemill_core.rights import ACT_FOR_USERS, has_right

MAX_FILENAME = 256


class FilePurpose(Enum):
    """What a file is for."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


def file_id_of(project: str, request_id: str) -> str:
    """Return the id of the file that a request makes."""
    return f"file-{derived_id(project, 'file', request_id).replace('-', '')}"


@dataclass(slots=True, kw_only=True)
class StoredFile(Aggregate):
    """Its content never changes, but that the lines of an erased person are emptied."""

    filename: str
    purpose: FilePurpose
    content: ObjectRef
    creator: str
    expire_time: datetime
    batch: str = ""
    """The batch that it is a result of."""
    epoch: int = 0
    """Of the lease of the worker that wrote the result."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.content.size

    @property
    def sha256(self) -> str:
        """The digest of its content."""
        return self.content.sha256

    def readable_by(self, caller: Caller) -> bool:
        """Whether a caller may read the content: answers may rest on documents that others may not read."""
        return has_right(caller, ACT_FOR_USERS) or caller.subject == self.creator
