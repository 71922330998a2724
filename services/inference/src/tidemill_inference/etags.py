"""Changes that were decided on one version only. The etag of a saved aggregate is its version."""

from tidemill_core.errors import Conflict


def check_etag(given: str, version: int) -> None:
    """Refuse a change that was decided on another version; "" was decided on none.

    Raises:
        Conflict: the thing has changed since.

    """
    if given and given != str(version):
        message = f"it changed since etag {given}: read it again and decide again"
        raise Conflict(message, etag=version)
