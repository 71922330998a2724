import gc
from contextlib import suppress

import pytest

from tidemill_trainer.learning.imports import without_collections


@pytest.mark.parametrize("module", ["gc", "tidemill_trainer.there_is_none"])
def test_what_is_imported_is_left_out_of_collections_which_go_on_afterwards(module: str) -> None:
    stays: list[list[int]] = []
    within: list[bool] = []

    with suppress(ImportError), without_collections():
        within.append(gc.isenabled())
        stays.append([])
        __import__(module)

    assert (within, gc.isenabled()) == ([False], True)
    assert not any(each is stays for each in gc.get_objects())  # which lists no object that collections leave out
