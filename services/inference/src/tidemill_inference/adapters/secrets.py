"""Keys for remote models, from the environment or from a folder of files; never logged, never stored."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from tidemill_inference.domain.errors import SecretMissing

PREFIX = "INFERENCE_SECRET_"
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class Secrets:
    """Looks a secret up each time it is needed, so that a changed file counts at the next load."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None) -> None:
        self._environment = environment
        self._folder = folder

    def get(self, name: str) -> SecretStr:
        """Return the secret of this name.

        Raises:
            SecretMissing: it is neither in the environment nor in the folder.

        """
        if not _NAME.fullmatch(name):
            raise SecretMissing(name)
        if value := self._environment.get(PREFIX + name):
            return SecretStr(value)
        path = self._folder / name if self._folder else None
        if path is None or not path.is_file():
            raise SecretMissing(name)
        return SecretStr(path.read_text(encoding="utf-8").strip())
