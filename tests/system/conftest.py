"""The whole platform as a user has it: the local stack with its services, and the command.

It ends with the last test of this folder: its processes hold 2 GB, and take 6 % of a core when they have nothing to do.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.calls import Calls
from tests.system.filling import fill
from tests.system.harvest import Harvest
from tests.system.running import LOOP, Platform, running_stack, write_trusted_cases
from tests.system.short_turn import turn
from tidemill_client.connection import Addresses, Connection
from tidemill_testkit.stack import unique_name


@pytest.fixture(scope="package")
def stack_folder() -> Iterator[Path]:
    """Give the folder of a stack that runs with all services; TIDEMILL_TEST_PLATFORM may name one that does."""
    with running_stack() as folder:
        yield folder


@pytest.fixture(scope="package")
def platform(stack_folder: Path) -> Platform:
    """Give the platform with the example's loop applied in a project of this run."""
    write_trusted_cases()
    given = Platform(stack_folder, Addresses.find(stack_folder.parent), unique_name("system"))
    applied = given.tidemill("apply", "-f", str(LOOP), "--json")
    assert applied.code == 0, applied.output + applied.errors
    return given


@pytest.fixture
async def connection(platform: Platform) -> AsyncIterator[Connection]:
    async with Connection(platform.project, platform.addresses) as connection:
        yield connection


@pytest.fixture(scope="package")
def turned(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Give a project whose loop has turned once: runs, versions of a model, evaluations, a rollout, examples."""
    return asyncio.run(turn(platform, tmp_path_factory.mktemp("turned")))


@pytest.fixture(scope="package")
def filled(turned: Platform) -> Platform:
    """Give that project with the example's loop too, and something of each kind that a short test can make."""
    asyncio.run(fill(turned))
    return turned


@pytest.fixture(scope="package")
def calls(filled: Platform) -> Iterator[Calls]:
    """Give calls of any RPC, as an admin of that project alone."""
    with Calls(filled.addresses, filled.api_key("admin")[1]) as calls:
        yield calls


@pytest.fixture(scope="package")
def harvest(calls: Calls) -> Harvest:
    """Give what is in that project."""
    harvest = Harvest(calls)
    harvest.read()
    return harvest
