from collections.abc import Iterator

import pytest

from infra.local.tests.process.java_process import JavaProcess


@pytest.fixture(scope="package")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaProcess]:
    """Give the process that the tests of this folder share."""
    process = JavaProcess.start(tmp_path_factory.mktemp("java"))
    yield process
    process.end()
