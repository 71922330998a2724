import time
from pathlib import Path

import pytest

from tidemill_cli.loop import LoopErrors, read_loop
from tidemill_cli.loop.bounds import is_near

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 9)
)


def problem_of(folder: Path, text: str) -> str:
    file = folder / "loop.yaml"
    file.write_text(text)
    begun = time.process_time()
    with pytest.raises(LoopErrors) as refused:
        read_loop(file)
    assert time.process_time() - begun < 5.0
    return refused.value.message


def test_aliases_of_aliases_are_counted_written_out(tmp_path: Path) -> None:
    assert "has more than 100000 values" in problem_of(tmp_path, BOMB)


def test_an_alias_inside_of_what_it_repeats_is_refused(tmp_path: Path) -> None:
    assert "has more than 100000 values" in problem_of(tmp_path, "a: &a [1, *a]\n")


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, "".join(f"{' ' * n}a:\n" for n in range(500))])
def test_a_file_that_is_nested_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    assert "is nested deeper than 32" in problem_of(tmp_path, text)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!mine", "!!binary"])
def test_a_type_of_its_own_is_refused_by_its_line(tmp_path: Path, tag: str) -> None:
    message = problem_of(tmp_path, f"apiVersion: tidemill.dev/v1\nkind: {tag} [x]\n")

    assert ":2:" in message
    assert "only plain YAML values" in message


@pytest.mark.parametrize("value", ["2026-13-45", "a\x00b", "-_"])
def test_a_value_that_yaml_has_no_reading_of_is_refused(tmp_path: Path, value: str) -> None:
    assert "cannot be read as YAML" in problem_of(tmp_path, f"metadata: {{name: {value}}}\n")


def test_aliases_within_reason_are_read(tmp_path: Path) -> None:
    message = problem_of(tmp_path, "x: &x {a: 1}\ny: *x\nz: *x\n")

    assert "values" not in message


def test_a_loop_names_files_of_its_repository_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    loop = tmp_path / "repository" / "loops" / "loop.yaml"
    loop.parent.mkdir()
    (loop.parent / "escape").symlink_to(tmp_path)

    assert is_near(loop, "../suites/truth.jsonl")
    assert not any(is_near(loop, name) for name in ("../../truth.jsonl", "/etc/passwd", "escape/truth.jsonl"))
    monkeypatch.setenv("TIDEMILL_LOOP_FILES", f"/srv/models:{tmp_path / 'shared'}")
    assert is_near(loop, "/srv/models/small")
    assert is_near(loop, "../../shared/truth.jsonl")
    assert not is_near(loop, "/etc/passwd")


def test_a_suite_outside_of_the_loop_s_folder_is_not_even_opened(tmp_path: Path) -> None:
    text = "apiVersion: tidemill.dev/v1\nkind: Loop\nmetadata: {name: a}\nsuites:\n  s: {cases: {file: /etc/passwd}}\n"

    assert "'/etc/passwd' is outside the loop's repository or directory" in problem_of(tmp_path, text)
