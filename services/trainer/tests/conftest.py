from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Return a registry on in-memory stores."""
    return Registry(folder=tmp_path)
