"""What a worker has for runs beside places: memory and GPUs, which runs in work take and waiting ones wait for."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.application import Clock, ResourceKey
from tidemill_kit.workers.fair_share import places_of_project


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a run takes: before its estimate is known its limit of memory, then the estimate."""

    memory_bytes: int = 0
    devices: int = 0
    reserves: bool = True
    """Whether capacity is kept for it where it has waited long: not for one that another worker may be computing."""

    @property
    def takes(self) -> bool:
        """Whether it takes anything."""
        return bool(self.memory_bytes or self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    memory_bytes: int
    devices: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class RunCapacity:
    """The memory and the GPUs of this worker, and which runs have them. Implements `controller.Capacity`.

    A smaller run may begin before a larger one that came earlier, until that one has been short of capacity for
    `reserve_after`: then no other begins before it, unless its project has all the places that it may have. Of several,
    the one that has been short for longest is first.
    """

    clock: Clock
    memory_bytes: int
    """What all runs together may take."""
    places: int
    """How many runs may be in work, of one project three quarters of them."""
    devices: tuple[str, ...] = ()
    """GPUs by their name in CUDA_VISIBLE_DEVICES; without any, runs compute on the CPU."""
    reserve_after: timedelta = timedelta(minutes=5)
    on_left: Callable[[], None] = lambda: None
    """Called when a run in work leaves capacity to others."""
    _needs: dict[ResourceKey, Need] = field(default_factory=dict)
    _taken: dict[ResourceKey, _Taken] = field(default_factory=dict)
    _short: dict[ResourceKey, datetime] = field(default_factory=dict)
    """Since when a waiting run has been short of capacity, the first that was being the first here."""

    @property
    def waiting(self) -> Collection[ResourceKey]:
        """The runs that wait for capacity or for a place."""
        return self._needs.keys()

    @property
    def free_bytes(self) -> int:
        """What no run has taken."""
        return self.memory_bytes - sum(each.memory_bytes for each in self._taken.values())

    @property
    def free_devices(self) -> Sequence[str]:
        """The GPUs that no run has."""
        taken = {device for each in self._taken.values() for device in each.devices}
        return [device for device in self.devices if device not in taken]

    def expect(self, key: ResourceKey, need: Need) -> None:
        """Know what a waiting run needs; of more than there is, all: it begins, and fails where that is too little."""
        self._needs[key] = Need(
            memory_bytes=min(need.memory_bytes, self.memory_bytes),
            devices=min(need.devices, len(self.devices)),
            reserves=need.reserves,
        )
        if not need.reserves:
            self._short.pop(key, None)

    def forget(self, key: ResourceKey) -> None:
        """Know that a run waits no more: it needs nothing."""
        self._needs.pop(key, None)
        self._short.pop(key, None)

    def take(self, key: ResourceKey, /) -> bool:
        """Take what a run needs if it is there and not kept for another; return whether it was."""
        need, now = self._needs.get(key, Need()), self.clock.now()
        first = self._reserving(now)
        if not self._fits(need) and need.reserves:
            self._short.setdefault(key, now)
        if not self._fits(need) or (first not in {None, key} and need.takes):
            return False
        self.forget(key)
        taken = tuple(self.free_devices[: need.devices])
        self._taken[key] = _Taken(memory_bytes=need.memory_bytes, devices=taken)
        return True

    def has_nothing(self, key: ResourceKey) -> bool:
        """Return whether a run was begun as one that needs nothing."""
        taken = self._taken.get(key)
        return taken is not None and not (taken.memory_bytes or taken.devices)

    def give_back(self, key: ResourceKey, /) -> None:
        """Give back what a run has taken."""
        self._taken.pop(key, None)

    def estimated(self, key: ResourceKey, needed_bytes: int) -> None:
        """Know the estimate of a run in work: it has so much, the rest is for others. On GPUs it is of their memory."""
        taken = self._taken.get(key)
        if taken is None or taken.devices or needed_bytes == taken.memory_bytes:
            return
        self._taken[key] = replace(taken, memory_bytes=needed_bytes)
        if needed_bytes < taken.memory_bytes:
            self.on_left()

    def refusal(self, processes: int) -> str:
        """Return why a run of so many processes can never begin here; "" if it can."""
        there = len(self.devices)
        if not there or processes <= there:
            return ""
        return (
            f"the run has {processes} processes, each of which takes a GPU; this worker has {there} "
            "(TRAINER_RUN_DEVICES): retry it where more are, start a run of a plan with fewer, or have the worker "
            "compute on the CPU (TRAINER_RUN_DEVICE=cpu)"
        )

    def devices_of(self, key: ResourceKey) -> Sequence[str]:
        """Return the GPUs that a run in work has."""
        taken = self._taken.get(key)
        return taken.devices if taken else ()

    def enlarge(self, key: ResourceKey, limit: int) -> int:
        """Have a run in work take what no other one has, up to its limit; return how much it has by that."""
        taken = self._taken.get(key)
        left = min(limit, max(0, self.free_bytes) + (taken.memory_bytes if taken else 0))
        if taken:
            self._taken[key] = replace(taken, memory_bytes=left)
        return left

    def fits_without(self, waiting: ResourceKey, leaving: ResourceKey) -> bool:
        """Return whether a waiting run has what it needs once another one in work has left: it is kept for no third."""
        taken = self._taken.get(leaving)
        need = self._needs.get(waiting, Need())
        if need.takes and self._reserving(self.clock.now(), without=leaving) not in {None, waiting}:
            return False
        return taken is None or self._fits(need, beside=taken)

    def _fits(self, need: Need, *, beside: _Taken | None = None) -> bool:
        memory, devices = self.free_bytes, len(self.free_devices)
        if beside:
            memory, devices = memory + beside.memory_bytes, devices + len(beside.devices)
        return need.memory_bytes <= memory and need.devices <= devices

    def _reserving(self, now: datetime, *, without: ResourceKey | None = None) -> ResourceKey | None:
        """Return the run that the capacity is kept for, if there is one; none whose project may have no more places."""
        most = places_of_project(self.places)
        crowded = {
            project for project, n in Counter(key.project for key in self._taken if key != without).items() if n >= most
        }
        for key, since in self._short.items():
            if now - since < self.reserve_after:
                return None
            if key.project not in crowded:
                return key
        return None
