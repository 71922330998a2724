"""Commits of a store that several writers share."""

import threading
from collections.abc import Callable


class GroupCommit:
    """Returns once what its caller wrote is committed: writes that ended while a commit was under way share the next.

    Writers call it from threads of their own. What a commit raises is raised for the writer that made it; those that
    waited for it make another one.
    """

    def __init__(self, commit: Callable[[], object]) -> None:
        self._commit = commit
        self._counting = threading.Lock()
        self._committing = threading.Lock()
        self.writes = 0
        """How many there were."""
        self._committed = 0
        """How many of the writes are in a commit that has ended."""

    def __call__(self) -> None:
        """Commit, unless a commit that began after this call has ended meanwhile."""
        with self._counting:
            self.writes += 1
            mine = self.writes
        with self._committing:
            if self._committed >= mine:
                return
            with self._counting:
                written = self.writes
            self._commit()
            self._committed = written
