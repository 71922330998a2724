"""Who calls when no request does."""

from tidemill_core.application import Caller


def background(project: str) -> Caller:
    """Return the caller of work in the background for a project."""
    return Caller.of_service(project, "inference")
