"""Chooses the ports of a stack: the ones asked for, else those of last time, else free ones."""

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping

import psutil

from tidemill_local.errors import PortTaken, StackError

LOOPBACK = "127.0.0.1"
FIRST, LAST = 20_000, 31_999
"""Below Linux's range of outgoing ports (32768 and up), so that no connection takes a chosen port by chance."""

REQUESTED = "TIDEMILL_PORTS"
"""Environment variable of ports asked for: "inference.http=8080,kafka=9092"."""


def is_free(port: int) -> bool:
    """Return whether a server can listen on a loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def requested() -> dict[str, int]:
    """Read the ports asked for by the environment."""
    text = os.environ.get(REQUESTED, "")
    try:
        pairs = [item.split("=") for item in text.split(",") if item.strip()]
        return {name.strip(): int(port) for name, port in pairs}
    except ValueError:
        message = f'{REQUESTED} is "{text}": write it as name=port pairs, for example inference.http=8080,kafka=9092.'
        raise StackError(message) from None


def choose(
    names: Iterable[str], *, requested: Mapping[str, int], previous: Mapping[str, int], seed: str
) -> dict[str, int]:
    """Return a port for each name; `seed` keeps the stacks of different folders apart.

    Raises:
        PortTaken: a requested port is not free.
        StackError: a requested name does not exist.
    """
    names = list(names)
    if unknown := sorted(requested.keys() - set(names)):
        message = f"There is no port named {unknown[0]}; the names are {', '.join(names)}."
        raise StackError(message)
    chosen: dict[str, int] = {}
    start = FIRST + int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) % (LAST - FIRST)
    candidates = iter([*range(start, LAST), *range(FIRST, start)])
    reserved = set(requested.values())
    for name in names:
        if name in requested:
            if not is_free(requested[name]):
                message = f"Port {requested[name]} for {name} is taken: stop what uses it, or change {REQUESTED}."
                raise PortTaken(message)
            chosen[name] = requested[name]
        elif (before := previous.get(name)) and before not in reserved and is_free(before):
            chosen[name] = before
        else:
            taken = {*chosen.values(), *previous.values(), *reserved}
            free = next((port for port in candidates if port not in taken and is_free(port)), None)
            if free is None:
                message = f"No port between {FIRST} and {LAST} is free: stop something that listens there."
                raise PortTaken(message)
            chosen[name] = free
    return chosen


class Watch:
    """Refuses ports that were free when they were chosen, and that other processes listen on since.

    Who listens is read from all processes: of a port that its own program has it is asked once.
    """

    def __init__(self, chosen: Mapping[str, int]) -> None:
        """Watch these ports; the port `s3.master` is the program `s3`'s."""
        self._chosen = chosen
        self._held = set[tuple[str, int]]()
        """Ports by their name, each with the process of the program that has it."""

    def check(self, pids: Mapping[str, int]) -> None:
        """Check the ports of programs by their first processes, 0 where one does not run.

        Raises:
            PortTaken: a program cannot listen on one of its ports.
        """
        for name, port in self._chosen.items():
            pid = pids.get(name.partition(".")[0])
            if pid is None or (name, pid) in self._held or is_free(port):
                continue
            if _listens(pid, port):
                self._held.add((name, pid))
            elif not is_free(port):  # asked again: the program itself may have listened, and ended, in between
                message = (
                    f"Port {port} for {name} was taken by another process after it was chosen: stop the stack and start"
                    " it again, which chooses another one."
                )
                raise PortTaken(message)


def _listens(pid: int, port: int) -> bool:
    """Return whether a process or a child of it listens on a port, and True of one that is just ending."""
    if pid == 0:
        return False
    try:
        first = psutil.Process(pid)
        connections = [each for one in (first, *first.children(recursive=True)) for each in one.net_connections("tcp")]
    except psutil.Error:
        return True
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)
