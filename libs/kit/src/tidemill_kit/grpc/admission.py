"""How many RPCs a process works on at once: no project can take the places of all others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tidemill_core.errors import Overloaded

NO_PROJECT = ""
"""Stands for callers who have no project yet."""
_RETRY_AFTER_S = 1.0


class Admission:
    """Counts RPCs in work, however they come. At most half of the places are one project's.

    Public streams have places of their own.
    """

    def __init__(self, *, max_rpcs: int, max_public_streams: int) -> None:
        self._max_rpcs = max_rpcs
        self._max_of_project = -(-max_rpcs // 2)
        self._max_public_streams = max_public_streams
        self._of_projects = Counter[str]()
        self._public_streams = 0

    @contextmanager
    def rpc(self, project: str) -> Iterator[None]:
        """Hold a place for an RPC of the project.

        Raises:
            Overloaded: there is none.

        """
        _refuse_beyond(self._of_projects.total(), self._max_rpcs, "RPCs are in work")
        whose = f"RPCs of project {project}" if project else "RPCs without a project"
        _refuse_beyond(self._of_projects[project], self._max_of_project, f"{whose} are in work")
        self._of_projects[project] += 1
        try:
            yield
        finally:
            self._of_projects[project] -= 1
            self._of_projects += Counter()  # forgets projects without any

    @contextmanager
    def public_stream(self) -> Iterator[None]:
        """Hold a place for a stream that needs no project.

        Raises:
            Overloaded: there is none.

        """
        _refuse_beyond(self._public_streams, self._max_public_streams, "health watches and reflections are open")
        self._public_streams += 1
        try:
            yield
        finally:
            self._public_streams -= 1


def _refuse_beyond(count: int, limit: int, what: str) -> None:
    if count >= limit:
        message = f"{count} {what}, and {limit} is the limit: try again later"
        raise Overloaded(message, retry_after_s=_RETRY_AFTER_S, limit=limit)
