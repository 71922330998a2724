"""The calls that run, so that those end whose credential is revoked meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidemill_kit.access.errors import CredentialRevoked
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.tokens import Claims


class RunningCalls:
    """Ends calls as soon as a revocation of their credential is read."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._calls: dict[object, tuple[Claims, Callable[[], None]]] = {}
        revocations.on_change(self._end_revoked)

    def register(self, claims: Claims, end: Callable[[], None]) -> Callable[[], None]:
        """Call `end` once a revocation of the credential is read; what is returned ends that."""
        key = object()
        self._calls[key] = (claims, end)
        return lambda: self._calls.pop(key, None) and None

    @contextmanager
    def call(self, claims: Claims) -> Iterator[None]:
        """Run a call in this task.

        Raises:
            CredentialRevoked: that was revoked before the end.

        """
        task, revoked = asyncio.current_task(), False

        def end() -> None:
            nonlocal revoked
            if not revoked and task is not None:
                revoked = True
                task.cancel()

        unregister = self.register(claims, end)
        try:
            yield
        except asyncio.CancelledError as error:
            if revoked and task is not None:
                task.uncancel()
                raise CredentialRevoked from error
            raise
        finally:
            unregister()

    def _end_revoked(self) -> None:
        for claims, end in list(self._calls.values()):
            try:
                self._revocations.check(claims)
            except CredentialRevoked:
                end()
