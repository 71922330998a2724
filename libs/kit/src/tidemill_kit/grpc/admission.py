"""What a process takes on at once and by the minute: no project can take the places, or the time, of all others."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

from tidemill_core.application import Caller
from tidemill_core.errors import Overloaded, RateLimited
from tidemill_kit.runtime.rates import Rates

NO_PROJECT = ""
"""Stands for callers who have no project yet."""
_RETRY_AFTER_S = 1.0
MAX_WAIT_S = 1.0
_MAX_WAITING = 1000
"""Beyond it requests are refused at once: each holds memory."""
_MAX_WAITING_OF_PROJECT = 100
"""Of one project, or of all without one together: the others keep places to wait in."""


class TooManyRequests(RateLimited):
    """A project, or one caller of it, sends more than its share by the minute."""

    reason = "TOO_MANY_REQUESTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a process takes on."""

    max_rpcs: int
    max_public_streams: int
    max_streams_of_project: int = 200
    requests_per_minute_of_project: int = 0
    requests_per_minute_of_subject: int = 0
    """0 is no limit."""


class Admission:
    """Counts requests, however they come. At most half of the places are one project's.

    Public streams have places of their own.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_of_project = -(-limits.max_rpcs // 2)
        self._of_projects, self._streams_of_projects = Counter[str](), Counter[str]()
        self._public_streams = 0
        self._projects = Rates(limits.requests_per_minute_of_project)
        self._subjects = Rates(limits.requests_per_minute_of_subject)
        self._waiting = Counter[str]()

    async def request(self, caller: Caller) -> None:
        """Count a request of a caller; what a service asks on behalf of one was counted where that came in.

        Those that come faster than their share wait for their turn, up to a second. A refusal is held back as long: a
        client that repeats it at once would cost as much as one that is served.

        Raises:
            TooManyRequests: beyond the requests that the project, or this caller, may send by the minute.

        """
        if caller.via:
            return
        buckets = [(self._projects, caller.project, "this project")]
        if caller.subject:
            buckets.append((self._subjects, f"{caller.project}/{caller.subject}", "this caller"))
        await self._pace(caller.project, buckets)

    async def anonymous(self, address: str) -> None:
        """Count a request that shows no credential, by where it comes from.

        Raises:
            TooManyRequests: beyond what one caller may send.

        """
        await self._pace(NO_PROJECT, [(self._subjects, address, "this address")])

    async def _pace(self, project: str, buckets: Sequence[tuple[Rates, str, str]]) -> None:
        wait_s, (rates, _, whose) = max(((each[0].wait_s(each[1]), each) for each in buckets), key=itemgetter(0))
        waits = bool(wait_s) and self._may_wait(project)
        served = not wait_s or (waits and wait_s <= MAX_WAIT_S)
        if served:
            for bucket, key, _ in buckets:
                bucket.take(key)
        if waits:
            with _counted(self._waiting, project):
                await asyncio.sleep(wait_s if served else MAX_WAIT_S)
        if not served:
            message = f"{whose} sends more than {rates.per_minute:g} requests a minute: wait, and send fewer"
            raise TooManyRequests(message, retry_after_s=max(wait_s, _RETRY_AFTER_S), limit=rates.per_minute)

    def _may_wait(self, project: str) -> bool:
        return self._waiting.total() < _MAX_WAITING and self._waiting[project] < _MAX_WAITING_OF_PROJECT

    @contextmanager
    def rpc(self, project: str, *, streams: bool = False) -> Iterator[None]:
        """Hold a place for an RPC of the project.

        Raises:
            Overloaded: there is none.

        """
        _refuse_beyond(self._of_projects.total(), self._limits.max_rpcs, "RPCs are in work")
        whose = f"of project {project}" if project else "without a project"
        _refuse_beyond(self._of_projects[project], self._max_of_project, f"RPCs {whose} are in work")
        if streams:
            open_ = self._streams_of_projects[project]
            _refuse_beyond(open_, self._limits.max_streams_of_project, f"streams {whose} are open")
        with _counted(self._of_projects, project), _counted(self._streams_of_projects, project if streams else None):
            yield

    @contextmanager
    def public_stream(self) -> Iterator[None]:
        """Hold a place for a stream that needs no project.

        Raises:
            Overloaded: there is none.

        """
        limit = self._limits.max_public_streams
        _refuse_beyond(self._public_streams, limit, "health watches and reflections are open")
        self._public_streams += 1
        try:
            yield
        finally:
            self._public_streams -= 1


@contextmanager
def _counted(counter: Counter[str], key: str | None) -> Iterator[None]:
    """Count one more of a key, None for nothing."""
    if key is None:
        yield
        return
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]


def _refuse_beyond(count: int, limit: int, what: str) -> None:
    if count >= limit:
        message = f"{count} {what}, and {limit} is the limit: try again later"
        raise Overloaded(message, retry_after_s=_RETRY_AFTER_S, limit=limit)
