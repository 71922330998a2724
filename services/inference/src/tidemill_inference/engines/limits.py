"""What engines may take of a machine. Nothing here imports a model's library, which takes seconds."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidemill_inference.engines.processors import FreeProcessors

_PAUSE_S = 0.25
"""How long after a step an engine still counts: between two steps of an answer it does little else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What one engine may take; `candidates` are of one request.

    `step_tokens` bounds a step, so that a long prompt does not hold up other requests.
    """

    cache_tokens: int = 16384
    batch: int = 64
    step_tokens: int = 512
    candidates: int = 8


class SharedThreads:
    """The threads that models compute with, shared out among the engines that compute at the same time.

    Engines that each take every core wait for each other's threads at every operation: two of them on two cores did a
    fifth less for the same processor time than with one thread each. For the same reason no more are shared out than
    have a processor beside what else runs on the machine (`FreeProcessors`).
    """

    def __init__(
        self,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[int], FreeProcessors] = FreeProcessors,
    ) -> None:
        """Share out so many threads; 0 takes as many as torch does by itself."""
        self._total = total
        self._clock = clock
        self._new_free = free
        self._free: FreeProcessors | None = None
        self._lock = threading.Lock()
        self._seen: dict[int, float] = {}
        """When each engine's thread computed last; infinity while it does."""

    @contextmanager
    def share(self) -> Iterator[None]:
        """Compute in this thread with its share, for the length of a block: a step."""
        import torch  # noqa: PLC0415 - takes seconds

        me = threading.get_ident()
        with self._lock:
            if self._free is None:
                self._free = self._new_free(self._total or torch.get_num_threads())
            free = self._free
            free.begin()
            long_ago = self._clock() - _PAUSE_S
            self._seen = {thread: at for thread, at in self._seen.items() if at > long_ago} | {me: math.inf}
            mine = max(1, free.threads // len(self._seen))
        if torch.get_num_threads() != mine:
            torch.set_num_threads(mine)
        try:
            yield
        finally:
            with self._lock:
                self._seen[me] = self._clock()
                free.end()
