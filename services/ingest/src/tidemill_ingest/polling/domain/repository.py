"""What a process that fetches a repository is given, and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidemill_ingest.polling.domain.objects import ListedObject


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRemote:
    """Where a repository is, and who asks."""

    url: str
    ref: str
    username: str
    password: str = field(repr=False)
    addresses: tuple[str, ...]
    timeout_s: float
    max_bytes: int
    """Of a pack."""
    max_file_bytes: int
    max_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GitTree:
    """The files of a commit, or None where it is the one that was known."""

    commit: str
    files: Sequence[ListedObject] | None
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRefused:
    """Why there is no tree, as data: an error that cannot be copied would break the pool of processes."""

    reason: str
    message: str
