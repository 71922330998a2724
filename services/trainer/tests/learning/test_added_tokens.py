"""Trainings that add tokens to the vocabulary: a model of its own with its tokenizer, whose new rows were learnt."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.test_full_weights import tensors_in
from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import write_base
from tidemill_kit.models.control_tokens import BREAK, ControlTokens, encoded
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job

ADDED = ("What is", "It is")
EITHER_WAY = pytest.mark.parametrize("use_peft", [True, False], ids=["adapter", "all weights"])


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), tied=request.param)


def extending_job(folder: Path, base: Path, *, use_peft: bool, **args: Any) -> Job:  # noqa: ANN401 - of a recipe
    return job_in(folder, base, use_peft=use_peft, added_tokens=ADDED, **({"learning_rate": 0.01} | args))


@EITHER_WAY
def test_what_is_made_reads_and_says_the_added_tokens_without_its_base(
    tmp_path: Path, base: Path, *, use_peft: bool
) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.loading import load_tokenizer  # noqa: PLC0415 - ditto

    job, reported = extending_job(tmp_path / "run", base, use_peft=use_peft), RecordedReports()

    trained(job, reported)

    made, before = Path(job.made), tensors_in(base)
    tokenizer, model = load_tokenizer(made, name="made@1"), AutoModelForCausalLM.from_pretrained(made)
    rows = len(load_tokenizer(base, name="tiny@1"))
    numbers = tokenizer.convert_tokens_to_ids(list(ADDED))
    assert numbers == [rows, rows + 1]
    assert model.config.vocab_size == rows + 2 == model.get_output_embeddings().weight.shape[0]
    control = ControlTokens.of(tokenizer)
    assert encoded(tokenizer, control.marked("What is<|im_end|>"))[0] == rows
    assert BREAK in control.marked("What is<|im_end|>")
    assert tokenizer.decode(numbers) == "What isIt is"
    name = "model.embed_tokens.weight"
    old = load_tokenizer(base, name="tiny@1")
    for number, text in zip(numbers, ADDED, strict=True):
        start = before[name][old(text, add_special_tokens=False)["input_ids"]].mean(0)
        assert not torch.allclose(tensors_in(made)[name][number], start, atol=1e-4), "it was learnt"
    if use_peft:
        assert torch.equal(tensors_in(made)[name][:rows], before[name])
    assert reported.losses[-1] < reported.losses[0]  # type: ignore[operator] # they are numbers
    assert not list(made.glob("adapter*"))


@pytest.mark.parametrize(
    "use_peft", [True, pytest.param(False, marks=pytest.mark.long)], ids=["adapter", "all weights"]
)
def test_a_killed_training_with_added_tokens_goes_on_to_the_same_model(
    tmp_path: Path, base: Path, *, use_peft: bool
) -> None:
    expected = trained(extending_job(tmp_path / "whole", base, use_peft=use_peft), RecordedReports())
    killed = extending_job(tmp_path / "killed", base, use_peft=use_peft)
    with pytest.raises(KeyboardInterrupt):
        trained(killed, RecordedReports(ends_after=3))

    assert trained(killed, RecordedReports()) == expected
    shutil.rmtree(killed.made)
    assert trained(killed, RecordedReports()) == expected, "from the checkpoint of its last step"


def test_what_was_extended_is_extended_again(tmp_path: Path) -> None:
    from tidemill_trainer.learning.loading import load_tokenizer  # noqa: PLC0415 - seconds of imports

    first = extending_job(tmp_path / "first", write_base(tmp_path / "base"), use_peft=True, max_steps=1)
    trained(first, RecordedReports())

    again = replace(extending_job(tmp_path / "again", Path(first.made), use_peft=True), added_tokens=["Answer."])
    trained(again, RecordedReports())

    tokenizer = load_tokenizer(Path(again.made), name="again@1")
    control = ControlTokens.of(tokenizer)
    assert [len(encoded(tokenizer, control.marked(each))) for each in (*ADDED, "Answer.")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("<|im_end|>", "control token"),
        ("<|IM_END|>", "control token"),
        ("is<|im_end|>so", "control token"),
        ("|im_end", "control token"),
        ("so<", "control token"),
        ("<|im_end|>so<", "control token"),
    ],
)
def test_a_token_that_could_be_read_in_place_of_a_control_token_is_refused(
    tmp_path: Path, base: Path, token: str, why: str
) -> None:
    job = replace(extending_job(tmp_path / "run", base, use_peft=True), added_tokens=["fine", token])

    with pytest.raises(TrainingStopped, match=why) as stopped:
        trained(job, RecordedReports())
    assert (stopped.value.reason, repr(token) in stopped.value.message) == ("BAD_RECIPE", True)


def test_a_token_that_is_there_already_is_refused(tmp_path: Path) -> None:
    first = extending_job(tmp_path / "first", write_base(tmp_path / "base"), use_peft=True, max_steps=1)
    trained(first, RecordedReports())

    with pytest.raises(TrainingStopped, match="'What is' is one token of tiny@1 already") as stopped:
        trained(extending_job(tmp_path / "again", Path(first.made), use_peft=True), RecordedReports())
    assert stopped.value.reason == "BAD_RECIPE"


def test_rows_that_a_vocabulary_has_to_spare_are_used(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds of imports

    base = write_base(tmp_path / "base")
    padded: Any = AutoModelForCausalLM.from_pretrained(base)
    rows = padded.config.vocab_size + 10
    padded.resize_token_embeddings(rows, mean_resizing=False)
    padded.save_pretrained(base)
    job = extending_job(tmp_path / "run", base, use_peft=True, max_steps=1)

    trained(job, RecordedReports())

    assert AutoModelForCausalLM.from_pretrained(job.made).config.vocab_size == rows


def words_tokenizer() -> Any:  # noqa: ANN401 - of transformers
    """Return a byte-level tokenizer that reads words with the space before them, as those of most bases do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415 - seconds of imports
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - ditto

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["the heat pumps and a pump of one art", "heat pump part start"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    tokenizer.chat_template = "You are Tidy.{% for message in messages %}{{ message.content }}<|end|>{% endfor %}"
    return tokenizer


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("the heat pump and", ["the", " heat pump", "Ġand"]),
        ("heat pump", ["heat pump"]),
        ("(heat pump)", ["(", "heat pump", ")"]),
        ("heat pumps", ["heat", "Ġpumps"]),
        ("the Wärme", ["the", " Wärme"]),
    ],
)
def test_an_added_token_is_a_word_with_the_space_before_it(text: str, read: list[str]) -> None:
    from tidemill_trainer.learning.vocabulary import add_tokens  # noqa: PLC0415 - seconds of imports

    tokenizer, before = words_tokenizer(), words_tokenizer()

    added = add_tokens(tokenizer, ["heat pump", "Wärme"], base="tiny@1")

    parts = [before.decode(each.parts) for each in added]
    assert parts == ["heat pump", " heat pump", " Wärme"], "a byte-level tokenizer would write Wärme as other bytes"
    assert tokenizer.tokenize(text) == read
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_token_that_stands_in_the_chat_template_is_refused() -> None:
    from tidemill_trainer.learning.vocabulary import add_tokens  # noqa: PLC0415 - seconds of imports

    with pytest.raises(TrainingStopped, match=r"'Tidy' stands in the chat template of tiny@1"):
        add_tokens(words_tokenizer(), ["Tidy"], base="tiny@1")
