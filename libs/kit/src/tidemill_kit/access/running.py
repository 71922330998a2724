"""The calls that run, so that those end whose credential is revoked meanwhile, or expires."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tidemill_core.errors import Unauthenticated
from tidemill_kit.access.errors import CredentialExpired, CredentialRevoked
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.tokens import Claims

End: TypeAlias = Callable[[Unauthenticated], None]
"""Ends a call with this answer."""


class RunningCalls:
    """Ends calls as soon as a revocation of their credential is read, and when it expires, as new ones are refused."""

    def __init__(
        self, revocations: Revocations, *, leeway_s: float = 30.0, now: Callable[[], float] = time.time
    ) -> None:
        self._revocations = revocations
        self._leeway_s = leeway_s
        self._now = now
        self._calls: dict[object, tuple[Claims, End]] = {}
        revocations.on_change(self._end_revoked)

    def register(self, claims: Claims, end: End) -> Callable[[], None]:
        """Call `end` once the credential is revoked or has expired; what is returned ends that."""
        key, loop = object(), asyncio.get_running_loop()
        left_s = max(0.0, claims.expire_time + self._leeway_s - self._now())
        expiry = loop.call_later(left_s, lambda: end(CredentialExpired()))
        self._calls[key] = (claims, end)

        def unregister() -> None:
            expiry.cancel()
            self._calls.pop(key, None)

        return unregister

    @contextmanager
    def call(self, claims: Claims) -> Iterator[None]:
        """Run a call in this task.

        Raises:
            CredentialRevoked, CredentialExpired: that happened before the end.

        """
        task, answers = asyncio.current_task(), list[Unauthenticated]()

        def end(answer: Unauthenticated) -> None:
            if not answers and task is not None:
                answers.append(answer)
                task.cancel()

        unregister = self.register(claims, end)
        try:
            yield
        except asyncio.CancelledError as error:
            if answers and task is not None:
                task.uncancel()
                raise answers[0] from error
            raise
        finally:
            unregister()

    def _end_revoked(self) -> None:
        for claims, end in list(self._calls.values()):
            if self._revocations.names(claims):
                end(CredentialRevoked())
