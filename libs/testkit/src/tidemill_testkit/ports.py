"""Ports for servers that tests start."""

from random import SystemRandom

from tidemill_local.ports import is_free

FIRST, LAST = 7_000, 9_999
"""Below Linux's range of outgoing ports, so that no connection takes a port before its server does, which may take
seconds; and below those of stacks.
"""
_given = set[int]()


def free_port() -> int:
    """Return a loopback port that is free now, and that no other test of this process has."""
    ports = (port for port in SystemRandom().sample(range(FIRST, LAST + 1), LAST + 1 - FIRST) if port not in _given)
    found = next(port for port in ports if is_free(port))
    _given.add(found)
    return found
