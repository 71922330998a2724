"""The credential that calls go out with."""

from collections.abc import Callable
from pathlib import Path

from tidemill_core.errors import PreconditionFailed

Credential = Callable[[], str]
"""Returns the credential to send now; asked before each call."""


class NoCredential(PreconditionFailed):
    """The file that should have the credential cannot be read, or is empty."""

    reason = "NO_CREDENTIAL"

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} has no credential: write an API key or a token into it, on one line")


class FileCredential:
    """The credential in a file, read again when the file changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._credential = ""

    def __call__(self) -> str:
        """Return it.

        Raises:
            NoCredential: there is none.

        """
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._credential = self._file.read_text("ascii").strip()
                self._seen = seen
        except (OSError, ValueError):
            raise NoCredential(self._file) from None
        if not self._credential:
            raise NoCredential(self._file)
        return self._credential
