"""When the times that answers took can be compared."""

from typing import Protocol

_LIKE_LOAD = 1.5
"""Maximum ratio of the two sides' concurrency."""


class Timed(Protocol):
    """An answer with how long it took, and how many could be generated at the same time; 0 where it is not known."""

    @property
    def total_s(self) -> float: ...  # noqa: D102 - see the class
    @property
    def max_concurrent(self) -> int: ...  # noqa: D102 - see the class


def under_like_load(one: Timed, other: Timed) -> bool:
    """Return whether two answers were generated under a like load."""
    fewer, more = sorted((one.max_concurrent, other.max_concurrent))
    return 0 < more <= fewer * _LIKE_LOAD and min(one.total_s, other.total_s) > 0
