"""In which order a demo takes its steps, and what a continued one takes again."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidemill_helpdesk import command
from tidemill_helpdesk.steps import Steps

RUN = SimpleNamespace(model_version="a@1")
RETRIED = ["search", "train", "evaluate", "preferred train", "preferred judge"]


class Recorded:
    """Stands for all that a turn is made of: notes what is called, and with `retry` or not."""

    def __init__(self, calls: list[tuple[str, bool]], of: str = "") -> None:
        self.calls, self.of = calls, of
        self.has_pairs = True

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def called(*_: object, retry: bool = False) -> object:
            self.calls.append((f"{self.of}{name}", retry))
            return RUN if name in {"train", "evaluate"} else {}

        return called

    async def __call__(self, *_: object) -> None:
        self.calls.append(("safety", False))

    def scores(self) -> list[str]:
        return [self.of]


class RecordedDepth(Recorded):
    """Stands for what a deep demo adds."""

    def pictures(self) -> dict[str, str]:
        return {"sweep": self.of}


async def turned(
    monkeypatch: pytest.MonkeyPatch, steps: Steps, *, has_pairs: bool = True
) -> tuple[list[tuple[str, bool]], dict[str, Any]]:
    calls: list[tuple[str, bool]] = []
    of_turn, depth = Recorded(calls), RecordedDepth(calls, of="preferred ")
    depth.has_pairs = has_pairs
    for name in ("Turn", "Judging", "Choices", "Safety"):
        monkeypatch.setattr(command, name, lambda **_: of_turn)
    monkeypatch.setattr(command, "Depth", lambda **_: depth)
    shown = await command._turn(steps, cast("Any", None), cast("Any", None), [])  # noqa: SLF001 - the order is there
    return [(name.replace("preferred search", "search"), retry) for name, retry in calls], shown


def started(folder: Path, *, deep: bool) -> Steps:
    return Steps(file=folder / "unfinished.json", project="p", deep=deep)


async def test_a_deep_demo_searches_before_it_trains_and_learns_from_pairs_after_the_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls, shown = await turned(monkeypatch, started(tmp_path, deep=True))

    names = [name for name, _ in calls]
    order = ["preferred hold", "triggers", "preferred pairs", "search", "train", "evaluate", "finish", "lineage"]
    order += ["preferred met_the_gate", "preferred train", "preferred judge"]
    assert [name for name in names if name in order] == order
    assert not any(retry for _, retry in calls)
    assert shown["scores"] == ["", "preferred "]


async def test_a_deep_demo_without_pairs_ends_after_the_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls, shown = await turned(monkeypatch, started(tmp_path, deep=True), has_pairs=False)

    assert [name for name, _ in calls if name.startswith("preferred ")][-1] == "preferred met_the_gate"
    assert shown["sweep"] == "preferred "


async def test_a_continued_deep_demo_takes_again_what_is_watched_and_retries_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = started(tmp_path, deep=True)
    await turned(monkeypatch, steps)

    calls, _ = await turned(monkeypatch, Steps.unfinished(steps.file))

    assert [name for name, retry in calls if retry] == RETRIED
    assert {name for name, _ in calls}.isdisjoint({"preferred hold", "preferred pairs", "triggers", "finish"})


async def test_a_usual_demo_has_no_step_of_a_deep_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls, _ = await turned(monkeypatch, started(tmp_path, deep=False))

    assert [name for name, _ in calls if name.startswith(("preferred", "search"))] == []
