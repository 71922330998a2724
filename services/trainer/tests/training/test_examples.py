import json
from pathlib import Path

import pytest

from services.trainer.tests.training.tiny import example_lines
from tidemill_trainer.training.checkpoints import last_complete, mark_complete
from tidemill_trainer.training.examples import fitting, read_rows, refuse_too_few
from tidemill_trainer.training.failures import TrainingStopped, stopped_by


class CountsCharacters:
    """A tokenizer with a token for each character."""

    def apply_chat_template(self, messages: list[dict[str, str]], *, return_dict: bool) -> str:
        assert not return_dict
        return "".join(message["content"] for message in messages)


def test_an_example_becomes_prompt_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(example_lines(2))

    assert read_rows(path)[1] == {
        "prompt": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is 1?"}],
        "completion": [{"role": "assistant", "content": "It is 1."}],
    }


def test_an_example_without_prompt_or_answer_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"id": "1"}) + "\n\n", encoding="utf-8")

    assert read_rows(path) == []


def test_what_would_be_cut_is_left_out_and_too_little_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(example_lines(12))
    rows = read_rows(path)

    kept = fitting(rows, CountsCharacters(), max_length=25)

    assert len(kept) == 10
    with pytest.raises(TrainingStopped, match="10 of 12 examples fit into max_length = 25"):
        refuse_too_few(kept, of=12, least=11, max_length=25)


def checkpoint(folder: Path, step: int, *, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_bytes(b"12345")
    if complete:
        mark_complete(path)
    return path


def test_the_newest_checkpoint_that_is_whole_is_gone_on_from(tmp_path: Path) -> None:
    checkpoint(tmp_path, 2)
    whole = checkpoint(tmp_path, 10)
    torn, cut = checkpoint(tmp_path, 12, complete=False), checkpoint(tmp_path, 14)
    (cut / "weights").write_bytes(b"123")

    assert last_complete(tmp_path) == whole
    assert (torn.exists(), cut.exists()) == (False, False)


def test_there_may_be_no_checkpoint(tmp_path: Path) -> None:
    assert last_complete(tmp_path / "none") is None


def test_memory_that_is_not_there_is_told_from_other_errors() -> None:
    stopped = stopped_by(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))

    assert stopped.reason == "OUT_OF_MEMORY"


def test_any_other_error_is_told_by_its_place_without_its_text() -> None:
    with pytest.raises(ValueError, match="what a user wrote") as error:
        int("what a user wrote")

    stopped = stopped_by(error.value)

    assert stopped.reason == "CRASHED"
    assert stopped.message.startswith("ValueError in test_any_other_error_is_told_by_its_place")
    assert "what a user wrote" not in stopped.message
