from collections.abc import Iterator

import pytest

from libs.cli.tests.loop.running import Server, server_of_several


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """What answers for the platforms of a module's tests."""
    with server_of_several() as serving:
        yield serving
