"""Refused calls, so that a flood of them costs the store little: beyond a limit they are counted, not recorded each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from cachetools import LRUCache

from tidemill_core.application import Caller
from tidemill_kit.audit.calls import NO_CALLER, AuditedCall

PER_MINUTE = 60
"""Refused calls of one subject that are recorded one by one."""
MAX_CALLERS = 10_000
MAX_COUNTS = 1000
"""Records of counts in one interval; beyond these, counts are by method and reason alone."""

_Key = tuple[str, str, str, str, str, str]


class Refusals:
    """Decides which refused calls have a record of their own, and counts the others.

    A call without a proven caller never has one: any client that reaches the port could fill the store.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left: LRUCache[tuple[str, str], tuple[float, float]] = LRUCache(MAX_CALLERS)
        self._counts: dict[_Key, AuditedCall] = {}

    def has_own_record(self, call: AuditedCall) -> bool:
        """Return whether the call is recorded by itself; else it is counted."""
        if call.caller.project and self._has_left(call.caller):
            return True
        self._count(call)
        return False

    def counted(self) -> Sequence[AuditedCall]:
        """Return one record for each kind of call that was counted, and begin again."""
        counts, self._counts = self._counts, {}
        return list(counts.values())

    def _has_left(self, caller: Caller) -> bool:
        name, now = (caller.project, caller.subject), self._now()
        left, at = self._left.pop(name, (float(PER_MINUTE), now))
        left = min(float(PER_MINUTE), left + (now - at) * PER_MINUTE / 60)
        self._left[name] = (max(0.0, left - 1), now)
        return left >= 1

    def _count(self, call: AuditedCall) -> None:
        key = _key(call)
        if key not in self._counts and len(self._counts) >= MAX_COUNTS:
            call = replace(call, caller=NO_CALLER)
            key = _key(call)
        known = self._counts.get(key)
        if known is not None:
            known.count += call.count
            return
        # The time of the first one, and nothing that is particular of it.
        self._counts[key] = replace(call, address="", trace_id="", resource="", request_digest="", etag_before="")


def _key(call: AuditedCall) -> _Key:
    return call.project, call.caller.subject, call.caller.via, call.method, call.code, call.reason
