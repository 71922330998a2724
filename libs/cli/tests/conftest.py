from collections.abc import Iterator

import pytest

from libs.cli.tests.loop.running import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """What answers for the platform of each test in turn."""
    serving = Server()
    with serving.reachable():
        yield serving
