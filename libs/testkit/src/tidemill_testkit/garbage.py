"""Spares the garbage collector what stays for the whole run: the modules and the collected tests, a million objects.

Each full collection would visit them all, and closing an engine asks for two. While tests are collected next to nothing
becomes garbage.
"""

import gc

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart() -> None:
    """Collect no garbage while tests are collected."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what is there by now out of later collections; what tests make is collected as ever."""
    gc.freeze()
    gc.enable()
