import pytest

from tidemill_monitor.lineage.domain.graph import Fact, Part
from tidemill_monitor.lineage.messages import entry_message
from tidemill_testkit.clocks import NOON


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        (True, "true"),
        (0, "0"),
        (0.5, "0.5"),
        (0.1 + 0.2, "0.3"),
        ("x", "x"),
        ("24", "24"),
        ({"offered": 42, "fitted": 30, "too_long": 12}, "30 of 42 (12 too long)"),
        (
            {"case_set": "s", "metric": "rouge_l", "cases": 48, "baseline": 0.25, "candidate": 0.5, "difference": 0.25},
            "0.2500 -> 0.5000, difference +0.2500 [+0.0000, +0.0000], 48 cases",
        ),
    ],
)
def test_facts_are_text_for_callers_whether_they_are_stored_as_numbers_or_as_text(fact: Fact, text: str) -> None:
    part = Part(key="state", event="e", seq=1, time=NOON, facts={"fact": fact})

    assert entry_message(part).facts == {"fact": text}
