"""Passwords of Kafka's users, as files of one folder that its owner alone may read."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tidemill_core.private_files import replace_private

_BYTES = 32


@dataclass(frozen=True, slots=True)
class PasswordFiles:
    """One file a user; a password is made once and kept. Remove a file to have a new one made."""

    folder: Path

    def file(self, user: str) -> Path:
        """Return the file with a user's password."""
        return self.folder / f"{user}.password"

    def ensure(self, users: Iterable[str]) -> dict[str, str]:
        """Make the passwords that are missing, and return those of all the users."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {user: self._ensure(self.file(user)) for user in users}

    def _ensure(self, file: Path) -> str:
        if not file.exists():
            replace_private(file, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
        return file.read_text("utf-8").strip()
