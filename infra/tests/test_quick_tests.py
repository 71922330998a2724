"""What `make check` runs, and leaves out."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra import checks, verify


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


@pytest.mark.parametrize("failing", [(), ("infra/checks.py", "long"), verify.PROOFS[-1:]])
def test_make_verify_runs_the_long_tests_and_the_whole_proofs_and_fails_where_they_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: tuple[str, ...]
) -> None:
    ran = list[tuple[list[str], dict[str, str]]]()

    def run(
        command: list[str], *, env: dict[str, str] | None = None, **_: object
    ) -> "subprocess.CompletedProcess[str]":
        ran.append((command, env or {}))
        fails = bool(failing) and command[-len(failing) :] == list(failing)
        return subprocess.CompletedProcess(command, returncode=int(fails))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["verify.py"])
    monkeypatch.setattr(verify, "REPORT", tmp_path / "report.json")
    monkeypatch.setattr(verify, "judge", lambda _: True)
    verify.REPORT.write_text('{"machine": {"numeric_format": "float32"}}', "utf-8")

    assert verify.main() == int(bool(failing))
    assert ["infra/checks.py", "long"] in [command[-2:] for command, _ in ran]
    (whole,) = [env for command, env in ran if command[-len(verify.PROOFS) :] == list(verify.PROOFS)]
    assert verify.WHOLE.items() <= whole.items()


def test_what_make_verify_proves_as_a_whole_is_there_and_reads_how_much() -> None:
    proofs = "".join((checks.ROOT / path).read_text("utf-8") for path in verify.PROOFS)

    assert [name for name in verify.WHOLE if f'"{name}"' not in proofs] == []
