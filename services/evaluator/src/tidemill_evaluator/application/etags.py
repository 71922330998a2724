"""What a caller read, against what is there."""

from tidemill_kit.core.aggregate import Aggregate
from tidemill_kit.core.errors import Conflict


def refuse_changed(aggregate: Aggregate, etag: str) -> None:
    """Refuse a change that was decided on another save; an empty etag was decided on none.

    Raises:
        Conflict: it changed since.

    """
    if etag and etag != str(aggregate.version):
        message = f"{aggregate.id} changed since etag {etag}: read it again and decide again"
        raise Conflict(message, etag=aggregate.version)
