"""What `make check` leaves out is named by where it is."""

import pytest


def test_every_heavy_test_that_is_left_out_is_there(pytestconfig: pytest.Config) -> None:
    assert [path for path in pytestconfig.getini("heavy_tests") if not path.exists()] == []
