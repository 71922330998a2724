"""Reports of a training process to its worker: JSON lines on standard output."""

import json
import os
import sys
import threading


class Reports:
    """Reserves standard output for reports and redirects prints of libraries to standard error."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        self._turn = threading.Lock()
        os.dup2(2, 1)

    def report(self, event: str, **facts: object) -> None:
        """Write one line."""
        with self._turn:
            self._pipe.write(json.dumps({"event": event, **facts}) + "\n")


class Unreported:
    """Of a rank beside the first, whose progress the first one reports."""

    def report(self, event: str, **facts: object) -> None:
        """Write nothing."""
