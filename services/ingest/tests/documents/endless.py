"""Work that uses up its process. What processes import for it, this module, imports nothing large."""

import os
import time


def spend() -> None:
    while True:
        pass


def fall_asleep() -> None:
    time.sleep(600)


def die() -> None:
    os._exit(7)


def allocate_all_memory() -> int:
    return len(bytearray(3 * 1024**3))
