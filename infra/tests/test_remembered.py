"""A check reads again what changed, and nothing else."""

from pathlib import Path

import pytest

from infra.remembered import Remembered


def files_read(folder: Path, code: Path, files: dict[str, str]) -> list[str]:
    """Run a check, and return the files that it had to read."""
    known, read = Remembered("check", code, folder=folder), list[str]()

    def find(path: str, text: str) -> list[str]:
        read.append(path)
        return [path, text]

    for path, text in files.items():
        assert known.of(path, text, find) == [path, text]
    known.keep()
    return read


def test_a_file_is_read_again_when_it_its_path_or_the_check_changed(tmp_path: Path) -> None:
    folder, code = tmp_path / "cache", tmp_path / "check.py"
    code.write_text("one")

    assert files_read(folder, code, {"a": "x", "b": "y"}) == ["a", "b"]
    assert files_read(folder, code, {"a": "x", "b": "y"}) == []
    assert files_read(folder, code, {"a": "x", "b": "z", "c": "y"}) == ["b", "c"]
    assert files_read(folder, code, {"a": "x"}) == []
    assert files_read(folder, code, {"b": "z"}) == ["b"]
    code.write_text("another")
    assert files_read(folder, code, {"b": "z"}) == ["b"]
    (folder / "check.json").write_text("{")
    assert files_read(folder, code, {"b": "z"}) == ["b"]


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (Remembered("check", folder=tmp_path) for _ in range(2))
    replace = Path.replace

    def after_the_other(written: Path, target: Path) -> Path:
        monkeypatch.undo()
        other.keep()
        return replace(written, target)

    monkeypatch.setattr(Path, "replace", after_the_other)
    one.keep()

    assert [file.name for file in tmp_path.iterdir()] == ["check.json"]
