"""Optimistic concurrency with etags."""

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Conflict


def refuse_changed(aggregate: Aggregate, etag: str) -> None:
    """Check the caller's etag against the stored revision; an empty etag always matches.

    Raises:
        Conflict: it changed since.

    """
    if etag and etag != str(aggregate.version):
        message = f"{aggregate.id} changed since etag {etag}: read it again and retry"
        raise Conflict(message, etag=aggregate.version)
