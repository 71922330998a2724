"""Memory goes back to the system when it is freed, or holds zeros."""

import ctypes

import psutil
import pytest

from tidemill_kit.models.freed_memory import return_freed_memory, return_zeros

MB = 1_000_000


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / MB


def test_freed_memory_is_returned() -> None:
    before = resident_mb()
    kept = [b"x" * 100_000 for _ in range(1000)]
    last = b"y" * 100_000  # above the freed ones in the heap
    del kept

    return_freed_memory()

    assert resident_mb() < before + 50
    assert last


@pytest.mark.heavy
def test_zeros_take_no_memory_until_they_are_written_to() -> None:
    held = ctypes.create_string_buffer(100 * MB)
    ctypes.memset(held, 0, len(held))
    before = resident_mb()

    return_zeros(ctypes.addressof(held), len(held))

    assert resident_mb() < before - 90
    assert not any(held.raw[:: MB // 10])
    ctypes.memset(held, 1, len(held))
    assert resident_mb() > before - 10


def test_memory_beside_the_zeros_stays() -> None:
    held = ctypes.create_string_buffer(b"x" * 3 * 4096)

    return_zeros(ctypes.addressof(held), 100)

    assert held.raw[: 3 * 4096] == b"x" * 3 * 4096
