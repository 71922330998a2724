"""Tests of inference calculate in one thread: the machine does other things beside them."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:  # which most tests need not load
        torch.set_num_threads(1)
