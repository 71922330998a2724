"""What tests log is printed, and a record that cannot be formatted fails the test that logs it."""

import logging

import pytest


def test_a_record_that_cannot_be_formatted_is_an_error_of_who_logs_it(capsys: pytest.CaptureFixture[str]) -> None:
    log, text = logging.getLogger("tidemill"), "%d of %d"

    with pytest.raises(TypeError):
        log.warning(text, 1)

    log.warning(text, 1, 2)
    assert capsys.readouterr().err == "1 of 2\n"
