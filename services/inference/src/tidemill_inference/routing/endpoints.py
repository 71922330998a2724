"""What this process knows of the models that it calls: their circuits, and how busy they are."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tidemill_inference.routing.domain.circuit import Circuit
from tidemill_inference.routing.ports import ObserveRouting

MAX_ENDPOINTS = 2000
"""Of all projects; of the project with the most, the one called longest ago is forgotten."""

_Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One model of one project."""

    circuit: Circuit
    running: int = 0


class Endpoints:
    """Other replicas have circuits of their own: each finds out by itself, so that none needs a store for it."""

    def __init__(
        self,
        observe: ObserveRouting,
        *,
        threshold: int,
        open_s: float,
        clock: Callable[[], float] = time.monotonic,
        max_kept: int = MAX_ENDPOINTS,
    ) -> None:
        """A circuit opens after `threshold` failures in a row, for `open_s`."""
        self.clock = clock
        self._observe = observe
        self._threshold = threshold
        self._open_s = open_s
        self._max_kept = max_kept
        self._known: OrderedDict[_Key, Endpoint] = OrderedDict()

    def of(self, project: str, model: str) -> Endpoint:
        """Return what is known of a model."""
        key = (project, model)
        known = self._known.get(key)
        if known is None:
            circuit = Circuit(threshold=self._threshold, open_s=self._open_s)
            known = self._known[key] = Endpoint(circuit=circuit)
            self._forget_surplus(key)
        self._known.move_to_end(key)
        return known

    def running(self, project: str, model: str) -> int:
        """Return how many attempts of a model are in progress."""
        known = self._known.get((project, model))
        return known.running if known else 0

    def rests(self, project: str, model: str) -> bool:
        """Return whether a model should be called after others: its circuit is open, or it is busy."""
        known, now = self._known.get((project, model)), self.clock()
        return known is not None and (known.circuit.rest_s(now) > 0 or known.circuit.paused_until > now)

    @property
    def projects(self) -> set[str]:
        """The projects of whose models something is known."""
        return {project for project, _ in self._known}

    async def forget(self, project: str) -> int:
        """Forget a project's models; return how many."""
        theirs = [key for key in self._known if key[0] == project]
        for key in theirs:
            self._drop(key)
        return len(theirs)

    def _forget_surplus(self, new: _Key) -> None:
        if len(self._known) <= self._max_kept:
            return
        idle = [key for key, known in self._known.items() if not known.running and key != new]
        if idle:
            models = Counter(project for project, _ in self._known)
            self._drop(max(idle, key=lambda key: models[key[0]]))

    def _drop(self, key: _Key) -> None:
        del self._known[key]
        self._observe.forget(*key)
