"""Memory that a process holds and does not use: freed, or never written to."""

import ctypes
import mmap

_DONT_NEED = 4


def return_freed_memory() -> None:
    """Return what the C library keeps for later to the system. Takes some 20 ms, without the GIL."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def return_zeros(address: int, size: int) -> None:
    """Return the pages of private memory that holds zeros; they take memory again when they are written to."""
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if first < last:  # a refusal is no fault: the memory stays as it is
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONT_NEED)
