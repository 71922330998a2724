"""A stack of its own, for tests that kill its services. It computes as a processor without AVX-512 and bfloat16 does.

So both kinds of processor are seen by two stacks, that of `tests/system` and this one, which may run side by side.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.running import Platform, running_stack, write_trusted_cases
from tidemill_client.connection import Addresses
from tidemill_testkit.stack import unique_name

WEAKER = {"TIDEMILL_NUMERIC_FORMAT": "float32", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.fixture(scope="package")
def stack_folder() -> Iterator[Path]:
    """Give the folder of a stack that runs with all services; TIDEMILL_TEST_PLATFORM may name one that does."""
    with running_stack(**WEAKER) as folder:
        yield folder


@pytest.fixture(scope="package")
def platform(stack_folder: Path) -> Platform:
    """Give the platform, in which nothing is declared yet."""
    write_trusted_cases()
    return Platform(stack_folder, Addresses.find(stack_folder.parent), unique_name("system"))
