"""What `make check` runs, and leaves out."""

import sys

import pytest

from infra import checks


def test_every_heavy_test_that_is_left_out_is_there(pytestconfig: pytest.Config) -> None:
    assert [path for path in pytestconfig.getini("heavy_tests") if not path.exists()] == []


@pytest.mark.parametrize(
    ("options", "name", "is_quick"), [(["--of", "rag"], "tests", False), (["--quick", "--of", "rag"], "quick", True)]
)
def test_the_tests_of_one_service_may_be_the_quick_ones(
    monkeypatch: pytest.MonkeyPatch, options: list[str], name: str, *, is_quick: bool
) -> None:
    chosen = dict[str, list[str]]()

    def run_all(commands: dict[str, list[str]]) -> int:
        chosen.update(commands)
        return 0

    monkeypatch.setattr(checks, "run_all", run_all)
    monkeypatch.setattr(sys, "argv", ["checks.py", *options])

    assert checks.main() == 0
    assert list(chosen) == [name]
    assert [each for each in chosen[name] if each.endswith("rag")] == [str(checks.ROOT / "services" / "rag")]
    assert ("--quick" in chosen[name], "--long" in chosen[name]) == (is_quick, not is_quick)


def test_tests_that_take_long_are_left_to_make_verify() -> None:
    commands = checks.commands("")

    assert "--long" not in commands["tests"]
    assert commands["long"][-2:] == ["--long", "only"]
    assert "infra/checks.py" in (checks.ROOT / "infra/verify.py").read_text("utf-8")
