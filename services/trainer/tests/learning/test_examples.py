import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import Environment, TemplateError

from services.trainer.tests.learning.tiny import example_lines
from tidemill_trainer.learning.checkpoints import last_complete, mark_complete
from tidemill_trainer.learning.examples import Example, read_examples, refuse_too_few, rows_of
from tidemill_trainer.learning.failures import TrainingStopped, stopped_by
from tidemill_trainer.training.domain.fit import ExampleCounts

REFUSES_TWO_IN_A_ROW = """{% for m in messages %}{% if not loop.first and m.role == loop.previtem.role %}
{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}:{{ m.content }}{% endfor %}"""


class CountsCharacters:
    """A transformers-like tokenizer with a token per character and one for `<|im_end|>`."""

    def __init__(self, template: str = "{% for m in messages %}{{ m.content }}{% endfor %}") -> None:
        self.chat_template = template
        self.all_special_tokens = ["<|im_end|>"]
        self.added_tokens_decoder: dict[int, str] = {}
        self.init_kwargs: dict[str, list[str]] = {}

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        assert not tokenize

        def raise_exception(message: str) -> None:
            raise TemplateError(message)

        return (
            Environment(autoescape=False)  # noqa: S701 - no HTML
            .from_string(self.chat_template)
            .render(messages=messages, add_generation_prompt=add_generation_prompt, raise_exception=raise_exception)
        )

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        assert not add_special_tokens
        return {"input_ids": re.findall(r"<\|im_end\|>|.", text, re.DOTALL)}


def examples(*turns: str, output: str = "Yes.", count: int = 1) -> list[Example]:
    prompt = [{"role": "user", "content": turn} for turn in turns]
    return [Example(prompt, [{"role": "assistant", "content": output}])] * count


def test_an_example_becomes_prompt_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(example_lines(2))

    assert read_examples(path)[1] == Example(
        [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is 1?"}],
        [{"role": "assistant", "content": "It is 1."}],
    )


def test_a_preference_is_refused_and_named_by_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"kind": "EXAMPLE_KIND_DEMONSTRATION"}\n{"kind": "EXAMPLE_KIND_PREFERENCE"}\n')

    with pytest.raises(TrainingStopped, match="of kind EXAMPLE_KIND_PREFERENCE") as refused:
        read_examples(path)
    assert refused.value.reason == "EXAMPLES_NOT_TRAINABLE"


def test_an_unpaired_preference_is_an_answer_with_its_label(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = [json.loads(line) for line in example_lines(2).splitlines()]
    kind = "EXAMPLE_KIND_UNPAIRED_PREFERENCE"
    path.write_text("\n".join(json.dumps(each | {"kind": kind, "label": n > 0}) for n, each in enumerate(lines)))

    rows, _ = rows_of(read_examples(path, kinds=[kind]), CountsCharacters(), max_length=99)

    assert [row.columns["label"] for row in rows] == [False, True]
    assert "".join(map(str, rows[1].columns["completion_ids"])) == "It is 1."


def preference(rejected: str, output: str = "Yes.") -> Example:
    (example,) = examples("Is it?", output=output)
    return replace(example, rejected=[{"role": "assistant", "content": rejected}] if rejected else [])


def test_a_preference_becomes_one_prompt_and_two_answers() -> None:
    ((pair,), _) = rows_of([preference("Yellow.")], CountsCharacters(), max_length=25)

    assert {name: "".join(map(str, tokens)) for name, tokens in pair.columns.items()} == {
        "prompt_ids": "Is it?",
        "chosen_ids": "Yes.",
        "rejected_ids": "Yellow.",
    }
    assert (len(pair.tokens), pair.prompt) == (13, 6)


def test_preferences_that_teach_nothing_are_left_out_and_counted() -> None:
    given = [preference("Yes."), preference(""), preference("No, and that at great length."), preference("No.")]

    rows, counts = rows_of(given, CountsCharacters(), max_length=25)

    assert len(rows) == 1
    assert counts == ExampleCounts(offered=4, fitted=1, too_long=1, empty=1, alike=1)
    assert "1 with two answers that are the same" in counts.described(max_length=25)


def test_an_example_without_prompt_or_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"id": "1"}) + "\n\n", encoding="utf-8")

    rows, counts = rows_of(read_examples(path), CountsCharacters(), max_length=25)

    assert (rows, counts) == ([], ExampleCounts(offered=1, fitted=0, empty=1))


def test_only_what_follows_the_prompt_is_learnt() -> None:
    ((row,), _) = rows_of(examples("Is it?"), CountsCharacters(), max_length=25)

    assert row.columns == {"input_ids": list("Is it?Yes."), "completion_mask": [0] * 6 + [1] * 4}


def test_a_template_that_says_more_before_an_answer_to_be_given_teaches_the_answer_alone() -> None:
    thinking = "{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[<think>{% endif %}"

    ((row,), _) = rows_of(examples("Is it?"), CountsCharacters(thinking), max_length=25)

    assert row.columns == {"input_ids": list("[Is it?][Yes.]"), "completion_mask": [0] * 9 + [1] * 5}


def test_what_would_be_cut_is_left_out_and_too_little_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(example_lines(12))

    rows, counts = rows_of(read_examples(path), CountsCharacters(), max_length=25)

    assert (len(rows), counts) == (10, ExampleCounts(offered=12, fitted=10, too_long=2))
    with pytest.raises(TrainingStopped, match="10 of 12 examples are used; 2 longer than max_length = 25"):
        refuse_too_few(counts, minimum=11, max_length=25)


def test_control_tokens_in_a_correction_are_learnt_as_text() -> None:
    ((row,), _) = rows_of(examples("Is it?", output="a<|im_end|>b"), CountsCharacters(), max_length=25)

    learnt: list[object] = list(row.tokens[row.prompt :])
    assert learnt == list("a<|im_end|>b")


def test_an_example_that_the_template_refuses_is_left_out_and_counted() -> None:
    given = [*examples("Is it?"), *examples("Is it?", "Really?"), *examples("Was it?")]

    rows, counts = rows_of(given, CountsCharacters(REFUSES_TWO_IN_A_ROW), max_length=99)

    assert (len(rows), counts) == (2, ExampleCounts(offered=3, fitted=2, refused=1))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{{ raise_exception(messages[0].content) }}", "TemplateError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "RecursionError"),
        ("{{ messages[0].content }}", "it renders no answer after the question"),
        ("{% if add_generation_prompt %}and so{% endif %}", "it renders no answer after the question"),
    ],
)
def test_a_template_that_takes_nothing_is_reported_in_its_own_words_and_not_in_a_users(
    template: str, words: str
) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        rows_of(examples("what a user wrote", count=3), CountsCharacters(template), max_length=99)

    assert stopped.value.reason == "BASE_NOT_TRAINABLE"
    assert stopped.value.message == f"the chat template of the base rejects all 3 examples: {words}"


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


def test_memory_that_is_not_there_is_distinguished_from_other_errors() -> None:
    stopped = stopped_by(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))

    assert (stopped.reason, stopped.message.partition(": ")[2]) == (
        "OUT_OF_MEMORY",
        "use a smaller batch, max_length or base",
    )
    assert stopped_by(MemoryError(), smaller="use less").message == "the machine is out of memory: use less"


def test_any_other_error_is_reported_by_its_place_without_its_text() -> None:
    with pytest.raises(ValueError, match="what a user wrote") as error:
        int("what a user wrote")

    stopped = stopped_by(error.value)

    assert stopped.reason == "CRASHED"
    assert stopped.message.startswith("ValueError in test_any_other_error_is_reported_by_its_place")
    assert "what a user wrote" not in stopped.message
