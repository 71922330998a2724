"""How an evaluation by a gate that asks for a smaller model is shown."""

import pytest

from tidemill.evaluator.v1.evaluation_pb2 import Comparison
from tidemill_cli.evaluations import _evidence


@pytest.mark.parametrize(
    ("baseline", "candidate", "shown"),
    [
        (269.1e6, 135.0e6, ("269.1 MB", "135.0 MB", "+134.1 MB", "", "at most 161.5 MB", "holds")),
        (0, 135.0e6, ("-", "135.0 MB", "-", "", "", "does not hold")),
    ],
)
def test_weights_are_shown_in_megabytes_beside_the_limit(
    baseline: float, candidate: float, shown: tuple[str, ...]
) -> None:
    size = Comparison(
        case_set="weights", metric="weights_bytes", required=True, less_is_better=True, holds=bool(baseline)
    )
    size.baseline, size.candidate, size.difference = baseline, candidate, baseline - candidate
    size.gain_above = baseline * (1 - 0.6)

    assert _evidence(size) == ("weights", "bytes (less is better)", "", *shown, "")
