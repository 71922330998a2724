from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.commands.sweep_answers import sweep
from libs.cli.tests.test_lineage_picture import lineage
from tidemill_helpdesk.report_html import write_html

SCORES = [
    {"case_set": case_set, "metric": "rouge_l", "question": f"How <{number}>?", "before": 0.2, "after": after}
    for case_set in ("held out", "truth")
    for number, after in enumerate((0.9, 0.2, 0.1))
]
TIMELINE = [
    {"time": "2026-01-01T12:01:40Z", "event": "tidemill.inference.rollout.promoted.v1", "message": "promoted & live"},
    {
        "time": "2026-01-01T12:00:00.5Z",
        "event": "tidemill.ingest.dataset.version_published.v1",
        "message": "",
        "facts": {},
    },
]
REPORT: dict[str, Any] = {
    "project": "acme <b>",
    "evaluation": {"metric": "rouge_l", "difference": 0.52412, "interval": [0.431, 0.612], "verdict": "passed"},
    "dataset": {"overlap": 0, "shared": {"a": 1}, "clean": True, "none": None},
    "seconds": {"train": 74.2},
    "pictures": {
        "scores": SCORES,
        "losses": [(10, 2.5), (20, 1.0), (40, 0.4)],
        "timeline": TIMELINE,
        "lineage": MessageToDict(lineage()),
    },
}


class Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def page_of(report: dict[str, Any], folder: Path) -> Page:
    path = folder / "new" / "report.html"
    write_html(report, path)
    return Page(path.read_text(encoding="utf-8"))


def test_it_is_one_page_with_everything_in_it(tmp_path: Path) -> None:
    page = page_of(REPORT, tmp_path)

    assert page.tags.count("svg") == 5
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert [load for load in page.loads if not load.startswith("#")] == []
    assert {"What was measured in acme <b>", "0.5241", "[0.431, 0.612]", "a: 1", "yes", "-"} <= set(page.texts)
    assert "rouge_l on held out: 3 cases, 1 better, 1 worse" in page.texts
    assert "100 s: promoted & live" in page.texts
    assert "training loss, 2.5 to 0.4" in page.texts
    assert "lora@1 <&$x$>" in page.texts


def test_a_deep_demo_shows_the_trials_of_its_sweep_and_the_loss_on_pairs(tmp_path: Path) -> None:
    pictures = {"sweep": MessageToDict(sweep()), "losses": [[1, 2.0]], "preferred_losses": [[1, 3.0], [2, 0.5]]}

    page = page_of({"pictures": pictures}, tmp_path)

    assert page.tags.count("svg") == 4  # by trial, by measurement, and both trainings
    assert {"Sweep rates", "1 *", "pruned", "Training on pairs", "training loss, 3 to 0.5"} <= set(page.texts)


def test_questions_are_ordered_by_what_they_gained(tmp_path: Path) -> None:
    texts = page_of({"pictures": {"scores": SCORES[:3]}}, tmp_path).texts

    assert [text for text in texts if text.startswith("How")] == ["How <2>?", "How <1>?", "How <0>?"]


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    page = page_of({"project": "acme", "seconds": {"all": 1.0}}, tmp_path)

    assert "svg" not in page.tags
    assert "h2" not in page.tags
    assert "all" in page.texts


def test_losses_are_drawn_by_step_and_many_cases_have_no_names(tmp_path: Path) -> None:
    many = [{**SCORES[0], "question": f"How {number}?"} for number in range(200)]

    page = page_of({"pictures": {"losses": [[10, 2.0], [20, 1.0]], "scores": many, "lineage": lineage()}}, tmp_path)

    assert page.tags.count("svg") == 3
    assert not [text for text in page.texts if text.startswith("How")]


@pytest.mark.parametrize(
    ("pictures", "reported"),
    [
        ({"scores": [{"question": "?"}]}, "pictures.scores"),
        ({"losses": ["high"]}, "pictures.losses"),
        ({"losses": [2.5, 1.0]}, "pictures.losses"),
        ({"timeline": [{"event": "e"}]}, "pictures.timeline"),
        ({"timeline": [{"time": "noon"}]}, "pictures.timeline"),
        ({"lineage": {"nodes": 5}}, "pictures.lineage"),
        ({"preferred_losses": [2.5]}, "pictures.preferred_losses"),
        ({"sweep": {"trials": 5}}, "pictures.sweep"),
    ],
)
def test_another_shape_is_named(pictures: dict[str, Any], reported: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reported):
        page_of({"pictures": pictures}, tmp_path)
