"""Etags of requests."""

NO_VERSION = -1
"""Revision for an invalid etag; matches no stored revision."""


def version_of(etag: str) -> int | None:
    """Return the revision of an etag; None for an empty etag."""
    if not etag:
        return None
    return int(etag) if etag.isascii() and etag.isdigit() else NO_VERSION
