"""The models that a process had loaded, in a file, so that the next process loads them ahead of requests."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

_MAX_MODELS = 100

_log = structlog.get_logger()


class LoadedBefore:
    """A list of project, `model@version` and engine, the one used last first. It is a hint: a broken file is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Sequence[tuple[str, str, str]]:
        """Return what the last process had loaded; blocks for a moment."""
        with suppress(OSError, ValueError, TypeError):
            listed = json.loads(self._path.read_text(encoding="utf-8"))
            return [(str(project), str(model), str(*engine)) for project, model, *engine in listed[:_MAX_MODELS]]
        return []

    def forget(self, project: str) -> None:
        """Take a project's models from the list; blocks for a moment."""
        listed = self.read()
        staying = [each for each in listed if each[0] != project and not each[1].startswith(f"{project}/")]
        if len(staying) < len(listed):
            self.write(staying)

    def write(self, models: Sequence[tuple[str, str, str]]) -> None:
        """Keep the list; blocks for a moment."""
        partial = self._path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(models[:_MAX_MODELS]), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            _log.warning("loaded_models_not_recorded", why=error.strerror)
