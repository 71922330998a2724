"""The table of bars: what it reads, what it says, and that measurements hand on what it asks for."""

import ast
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra import bars
from tests.bench import _bars, _figures
from tests.bench._bars import BARS, Bar, Result

ROOT = Path(__file__).resolve().parents[2]


def test_each_bar_of_speed_is_handed_on_by_the_measurement_that_it_names() -> None:
    for bar in BARS:
        spec = find_spec(bar.measured_by)
        assert spec is not None
        assert spec.origin is not None
        reported = re.findall(r'report\(\s*f?"([^"]+)"', Path(spec.origin).read_text(encoding="utf-8"))
        patterns = [re.sub(r"\\{[^}]*\\}", "[0-9]+", re.escape(name)) for name in reported]
        assert any(re.fullmatch(pattern, bar.name) for pattern in patterns), bar.name
        assert bar.measured_by in _bars.SECONDS


def test_a_figure_is_handed_on_where_a_file_is_named_and_the_later_of_two_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(_figures.FILE, raising=False)
    _figures.report("lost", 1, "x")
    monkeypatch.setenv(_figures.FILE, str(tmp_path / "figures"))
    for measured in (1.0, 2.0):
        _figures.report("kept", measured, "x")

    assert _figures.figures_in(tmp_path / "figures") == {"kept": _figures.Figure("kept", 2.0, "x")}
    assert _figures.figures_in(tmp_path / "none") == {}


def test_a_bar_is_held_at_its_limit_and_missed_beyond_it_or_unmeasured() -> None:
    fast = Bar(name="fast", what="much", measured_by="m", before="1", at_least=2)
    small = Bar(name="small", what="little", measured_by="m", before="9", at_most=5)

    results = [
        Result(bar=fast, figure=_figures.Figure("fast", 2, "x"), load=0.5),
        Result(bar=small, figure=_figures.Figure("small", 5.1, "calls"), load=0.5),
        Result(bar=small, figure=None, load=0.5),
    ]

    assert [result.holds for result in results] == [True, False, False]
    header, first, second, third, machine = _bars.table(results)
    assert re.split(r"\s{2,}", header) == ["what", "before", "bar", "measured", "load"]
    assert re.split(r"\s{2,}", first) == ["much", "1", "at least 2", "2 x", "held", "0.5"]
    assert re.split(r"\s{2,}", second) == ["little", "9", "at most 5", "5.1 calls", "MISSED", "0.5"]
    assert "not measured" in third
    assert "cores" in machine
    assert [each["holds"] for each in _bars.as_json(results)] == [True, False, False]


def test_an_unknown_measurement_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert bars.speed(["engines"], as_json=False) == 2
    said = capsys.readouterr().err
    assert "there is no measurement engines; there are " in said
    assert "aggregates, audit, documents, duplicates, engine," in said


def test_lines_at_a_commit_are_those_that_git_shows_file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = "HEAD"
    named = bars._git("ls-tree", "-r", "--name-only", ref, "infra").splitlines()  # noqa: SLF001 - what it is compared with
    paths = [path for path in named if path.endswith(".py")]
    begun = list[object]()
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: begun.append(given) or run(*given, **named))  # type: ignore[func-returns-value] # appends

    counted = list(bars._lines_at(ref, paths))  # noqa: SLF001 - one process for all

    assert len(begun) == 1
    assert counted == [bars._git("show", f"{ref}:{path}").count("\n") for path in paths]  # noqa: SLF001 - ditto


NESTED = """
def a():
    def b(): pass
class C:
    async def c(self): pass
if 1:
    def d(): pass
else:
    def e(): pass
try:
    def f(): pass
except A:
    def g(): pass
else:
    def h(): pass
finally:
    def i(): pass
match 1:
    case 1:
        def j(): pass
for x in y:
    def k(): pass
while 1:
    with z:
        def l(): pass
"""


def test_functions_are_found_wherever_they_are_defined() -> None:
    found = [function.name for function in bars._functions(ast.parse(NESTED))]  # noqa: SLF001 - the rest reads files

    assert sorted(found) == list("abcdefghijkl")
