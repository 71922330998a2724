"""Spares the garbage collector what stays for the whole run: the modules and the collected tests, a million objects.

Each full collection would visit them all, and closing an engine asks for two.
"""

import gc

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what is there by now out of later collections; what tests make is collected as ever."""
    gc.collect()
    gc.freeze()
