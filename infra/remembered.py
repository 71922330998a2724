"""What a check found in each file, kept from run to run: most files are as they were the last time."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".checks_cache"


class Remembered:
    """Findings by a file's path and content, and by what finds them: another version of it begins anew."""

    def __init__(self, check: str, *made_of: Path, folder: Path = FOLDER) -> None:
        self._file = folder / f"{check}.json"
        self._version = hashlib.sha256(b"".join(file.read_bytes() for file in made_of)).hexdigest()
        self._known: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        try:
            kept = json.loads(self._file.read_bytes())
        except (OSError, ValueError):  # the first run, or one that was ended while it wrote
            return
        if kept["version"] == self._version:
            self._known = kept["found"]

    def of(self, path: str, text: str, find: Callable[[str, str], Any]) -> Any:  # noqa: ANN401 - JSON
        """Return what is known of a file, or find it by its path and text."""
        key = hashlib.sha256(f"{path}\0{text}".encode()).hexdigest()
        self._seen[key] = self._known[key] if key in self._known else find(path, text)
        return self._seen[key]

    def keep(self) -> None:
        """Write what was found in this run, in which all files were read: what changed since is forgotten."""
        self._file.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False) as written:  # two may run at once
            json.dump({"version": self._version, "found": self._seen}, written)
        Path(written.name).replace(self._file)
