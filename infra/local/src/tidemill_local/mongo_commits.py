"""Commits of a store that several writers share, and that none of them is in the middle of."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class GroupCommit:
    """Returns once what its caller wrote is committed: those who write while a commit is waited for share it.

    Writers call it from threads of their own, after `writing`. What a commit raises is raised for the writer that made
    it; those that waited for it make another one. A commit waits for the writes that have begun, and holds back those
    that have not, so that it stores each whole: the library changes several maps for one, and documents field by field.
    """

    def __init__(self, commit: Callable[[], object]) -> None:
        self._commit = commit
        self._committing = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._writing = 0
        self._rounds = 0
        """How often those who waited have been let in."""
        self._written = 0
        """How many writes have ended."""
        self._committed = 0
        """How many of these are in a commit that has ended."""
        self._mine = threading.local()
        self.is_alone = False
        """Whether the store is had alone, or this waits for the writes that have begun."""
        self.waiting = 0
        """How many wait for a commit to end before they write."""

    def __call__(self) -> None:
        """Commit, unless a commit that began after this thread's last write has ended meanwhile."""
        with self._committing:
            if self._committed >= self._mine.write:
                return
            with self.alone():
                self._commit()
                self._committed = self._written

    def flush(self) -> None:
        """Commit what no caller waits for."""
        with self._committing, self.alone():
            self._commit()
            self._committed = self._written

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let no commit in between. Who is writing does not ask for it again, and does not commit."""
        with self._changed:
            if self.is_alone:
                self.waiting += 1
                waited_in = self._rounds
                self._changed.wait_for(lambda: self._rounds != waited_in)
            else:
                self._writing += 1
        try:
            yield
        finally:
            with self._changed:
                self._writing -= 1
                self._written += 1
                self._mine.write = self._written
                if not self._writing:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the store while no write is under way; then all who waited write before it is had alone again."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_alone)
            self.is_alone = True
            self._changed.wait_for(lambda: not self._writing)
        try:
            yield
        finally:
            with self._changed:
                self.is_alone = False
                self._writing, self.waiting = self.waiting, 0
                self._rounds += 1
                self._changed.notify_all()
