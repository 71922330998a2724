import logging
import sys
from collections.abc import Iterator

import pytest

from libs.kit.tests.grpc.support import Lines, settings
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.telemetry import configure_tracing
from tidemill_testkit.log_lines import configured_as_before


@pytest.fixture(scope="session", autouse=True)
def _traced() -> None:
    configure_tracing(settings(), version="0")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    logged = Lines()
    handlers, level = logging.root.handlers[:], logging.root.level
    with configured_as_before():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", logged.stream)
            configure_logging(settings(log_level="debug"))
        yield logged
    logging.root.handlers[:], logging.root.level = handlers, level
