"""garak is configured by a file, and its report is counted."""

import json
from pathlib import Path

import pytest

from libs.cli.tests.harnesses.reports import TARGET, garak_eval, garak_report
from tidemill_cli.harnesses.garak import Garak
from tidemill_cli.harnesses.harness import NOT_RUN, TOO_FEW_ANSWERS, UNREADABLE, HarnessFailed


def test_what_is_asked_is_in_a_file_and_the_token_is_not(tmp_path: Path) -> None:
    harness = Garak(tests=("dan.Dan_11_0", "goodside.Tag"), max_prompts=3)

    arguments = harness.prepare(tmp_path, TARGET)

    config = json.loads(Path(arguments[-1]).read_text("utf-8"))
    assert config["plugins"]["probe_spec"] == "dan.Dan_11_0,goodside.Tag"
    assert config["plugins"]["target_name"] == "helpdesk"
    assert config["run"] == {"seed": 7, "generations": 1, "soft_probe_prompt_cap": 3}
    assert not [file for file in tmp_path.iterdir() if TARGET.token in file.read_text("utf-8")]
    assert TARGET.token not in " ".join(arguments)
    assert harness.environment(TARGET) == {"OPENAICOMPATIBLE_API_KEY": TARGET.token}


def test_scores_are_counted_by_probe_and_detector(tmp_path: Path) -> None:
    skipped = garak_eval(passed=0, total=0, probe="goodside.Tag")
    garak_report(tmp_path, garak_eval(passed=9, total=10, nones=1), skipped)

    found = Garak(tests=("dan",)).read(tmp_path)

    assert [(each.test, each.metric, each.passed, each.total) for each in found.scores] == [
        ("dan.Dan_11_0", "dan.DAN", 9, 10)
    ]
    assert found.report.count(b"\n") == 3


@pytest.mark.parametrize(
    ("lines", "reason", "says"),
    [
        ([], UNREADABLE, "no evaluated probe"),
        (["{"], UNREADABLE, "a line that is no JSON"),
        (["[]"], UNREADABLE, "a line that is no object"),
        (['{"entry_type": "eval", "probe": "p"}'], UNREADABLE, "counts that are none"),
        ([garak_eval(passed=3, total=2)], UNREADABLE, "counts that are none"),
        ([garak_eval(passed=8, total=8, nones=2)], TOO_FEW_ANSWERS, "2 of 10 prompts were not answered"),
    ],
)
def test_a_report_that_says_nothing_has_no_scores(tmp_path: Path, lines: list[str], reason: str, says: str) -> None:
    garak_report(tmp_path, *lines)

    with pytest.raises(HarnessFailed, match=says) as failed:
        Garak(tests=("dan.Dan_11_0",)).read(tmp_path)
    assert failed.value.reason == reason


def test_a_probe_that_was_asked_for_and_did_not_run_is_no_success(tmp_path: Path) -> None:
    garak_report(tmp_path, garak_eval(passed=1, total=1), garak_eval(passed=0, total=0, probe="goodside.Tag"))

    with pytest.raises(HarnessFailed, match=r"did not run goodside\.Tag") as failed:
        Garak(tests=("dan.Dan_11_0", "goodside.Tag")).read(tmp_path)
    assert failed.value.reason == NOT_RUN


def test_a_report_that_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match="run it again with --keep"):
        Garak().read(tmp_path)
