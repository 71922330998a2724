"""Words that the glossary has better ones for are found where people read and where code defines names."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = """
## Not, but

| Not | But | In |
|---|---|---|
| `door`, `doors` | API | prose, names |
| `drive again` | redrive | prose |
| `take_*`, `*_at_once` | handle, max_concurrent | names |
| `Offer` | SubmissionFacts | names |

## What stays

| Stays | Why |
|---|---|
| `next door` | plain English |
| `open_door` | a name of the contract |
"""


def _words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", ROOT / "infra/words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = _words()


def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> list[tuple[int, str]]:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    path = tmp_path / name
    path.write_text(text)
    return [(each.line, each.text) for each in words.check(path, path.read_text(), words.Glossary(GLOSSARY))]


def test_prose_of_markdown_is_read_and_code_in_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# Doors\n\nEach `door` is\nnext door.\n\n```\na door\n```\n\nDrive again.\n"
    assert _found(tmp_path, monkeypatch, "a.md", text) == [(1, "Doors"), (10, "Drive again")]


def test_docstrings_comments_and_sentences_in_strings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '"""A door."""\n\nX = "door"  # a door\nY = f"no such door here: {X}"\n'
    assert _found(tmp_path, monkeypatch, "a.py", text) == [(3, "door"), (1, "door"), (4, "door")]


def test_names_are_read_where_they_are_defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "class OpenDoor:\n    doors = other.door\n\n\ndef take_it(runs_at_once, open_door):\n"
        '    log.info("door_opened")\n    taken = Offer()\n\n\nclass Offer:\n    pass\n'
    )
    found = {name for _, name in _found(tmp_path, monkeypatch, "a.py", text)}
    assert found == {"OpenDoor", "doors", "take_it", "runs_at_once", "door_opened", "Offer"}


def test_the_name_of_a_test_is_read_as_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def test_all_are_sent_at_once():\n    pass\n\n\ndef test_a_door_opens():\n    pass\n"
    assert _found(tmp_path, monkeypatch, "test_a.py", text) == [(5, "test_a_door_opens")]


def test_a_module_s_name_and_the_comments_of_protos_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found(tmp_path, monkeypatch, "door.py", "") == [(1, "door")]
    assert _found(tmp_path, monkeypatch, "a.proto", "// The door.\nstring door = 1;  // is a door\n") == [
        (1, "door"),
        (2, "door"),
    ]
