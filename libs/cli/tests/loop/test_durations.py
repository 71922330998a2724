import pytest
from google.protobuf.duration_pb2 import Duration

from tidemill_cli.loop.durations import span_of


@pytest.mark.parametrize(
    ("seconds", "span"), [(0, ""), (90, "90s"), (90 * 60, "90m"), (49 * 3600, "49h"), (24 * 3600, "1d"), (604800, "7d")]
)
def test_a_time_span_is_shown_as_the_file_has_it(seconds: int, span: str) -> None:
    assert span_of(Duration(seconds=seconds)) == span
