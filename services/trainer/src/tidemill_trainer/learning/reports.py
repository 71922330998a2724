"""Reports of a training process to its worker: JSON lines on standard output, and answers on standard input."""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any


class Reports:
    """Reserves standard output for reports and redirects prints of libraries to standard error.

    `answer` waits for the worker's next answer, a line of JSON.
    """

    def __init__(self, answer: Callable[[], str] | None = None) -> None:
        sys.stdout.flush()
        self._answer = answer
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        self._turn = threading.Lock()
        os.dup2(2, 1)

    def report(self, event: str, **facts: object) -> None:
        """Write one line."""
        with self._turn:
            self._pipe.write(json.dumps({"event": event, **facts}) + "\n")

    def ask(self, event: str, **facts: object) -> Any:  # noqa: ANN401 - JSON
        """Write one line, and return what the worker answers."""
        assert self._answer  # noqa: S101 - the process of a training has one
        self.report(event, **facts)
        return json.loads(self._answer())


class Unreported:
    """Of a rank beside the first, whose progress the first one reports."""

    def report(self, event: str, **facts: object) -> None:
        """Write nothing."""

    def ask(self, event: str, **facts: object) -> Any:  # noqa: ANN401 - as `Reports.ask`
        """Raise: what is asked is asked by the first rank."""
        raise NotImplementedError(event)
