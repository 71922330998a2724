"""The last keys of an issuer in a file, so that a service that starts while the issuer is down goes on."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill_core.private_files import replace_private
from tidemill_kit.access.documents import MAX_BYTES

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Unusable(OSError):
    """The file is not what was saved here."""


@dataclass(frozen=True, slots=True)
class SavedKeys:
    """A process takes tokens by the keys in this file: nothing but itself may write it.

    Both methods block.
    """

    folder: Path
    issuer: str

    @property
    def file(self) -> Path:
        """The issuer's file."""
        return self.folder / f"{hashlib.sha256(self.issuer.encode()).hexdigest()[:32]}.json"

    def write(self, published: Mapping[str, Any], *, read_time: float) -> None:
        """Keep a key set, with when it was read (seconds since 1970).

        Raises:
            OSError: it cannot be written.

        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {"issuer": self.issuer, "read_time": read_time, "published": published}
        replace_private(self.file, json.dumps(kept).encode())

    def read(self) -> tuple[Mapping[str, Any], float] | None:
        """Return the key set and when it was read; None where there is none.

        Raises:
            Unusable: others may have written it, or it is damaged.
            OSError: it cannot be read.

        """
        try:
            with self.file.open("rb") as file:
                about = os.fstat(file.fileno())
                content = file.read(2 * MAX_BYTES)
        except FileNotFoundError:
            return None
        if about.st_mode & _OTHERS_WRITE or about.st_uid != os.geteuid():
            message = f"{self.file} may be written by others"
            raise Unusable(message)
        try:
            kept = json.loads(content)
            if kept["issuer"] != self.issuer or not isinstance(kept["published"], dict):
                raise ValueError  # noqa: TRY301 - one error for all
            return kept["published"], float(kept["read_time"])
        except (ValueError, TypeError, KeyError, RecursionError):
            message = f"{self.file} is damaged"
            raise Unusable(message) from None
