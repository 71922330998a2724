"""What tests of branches share."""

import pytest

from services.inference.tests.prompts.branching import BASE, Branching
from services.inference.tests.prompts.test_crud import TWO


@pytest.fixture
async def library() -> Branching:
    """Return a library with a prompt of three versions, and a branch of its second."""
    library = Branching()
    await library.has("answer", TWO, BASE)
    await library.fork("answer", "brief")
    return library
