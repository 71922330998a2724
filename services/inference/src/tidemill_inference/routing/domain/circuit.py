"""A circuit breaker: an endpoint that fails again and again is not called for a while.

Nygard, Release It!, chapter 5. Closed: calls pass, and failures in a row are counted. Open: no call passes, until the
time is over. Half-open: one call passes at a time, as a probe; its first token closes the circuit, its failure opens it
again.
"""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Circuit:
    """Of one endpoint. Times are on one monotonic clock; each admitted call ends with one of the other methods."""

    threshold: int
    open_s: float
    failures: int = 0
    open_until: float | None = None
    paused_until: float = 0.0
    """When an endpoint is to be called again that said it was busy."""
    _probe: object | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is open or half-open."""
        return self.open_until is not None

    def rest_s(self, now: float) -> float:
        """Return how long it stays open; 0.0 where a call may pass."""
        if self.open_until is None:
            return 0.0
        rest_s = max(0.0, self.open_until - now)
        return rest_s if rest_s or self._probe is None else self.open_s

    def admit(self, call: object, now: float) -> bool:
        """Return whether a call passes."""
        if self.open_until is None:
            return True
        if self.rest_s(now):
            return False
        self._probe = call
        return True

    def began(self) -> None:
        """The endpoint answers. That it also comes to an end, it has yet to show: the next failure opens it again."""
        if self.open_until is not None:
            self.open_until, self._probe, self.failures = None, None, self.threshold - 1

    def succeeded(self) -> None:
        """A call came to its end."""
        self.open_until, self._probe, self.failures, self.paused_until = None, None, 0, 0.0

    def failed(self, call: object, now: float) -> None:
        """A call failed; those that began before it opened do not keep it open for longer."""
        if self.open_until is not None:
            if self._probe is call:
                self.open_until, self._probe = now + self.open_s, None
            return
        self.failures += 1
        if self.failures >= self.threshold:
            self.open_until = now + self.open_s

    def released(self, call: object) -> None:
        """A call ended that says nothing about the endpoint: the caller left, or was wrong."""
        if self._probe is call:
            self._probe = None

    def pause(self, until: float) -> None:
        """Do not call a busy endpoint before, if there is another."""
        self.paused_until = max(self.paused_until, until)
