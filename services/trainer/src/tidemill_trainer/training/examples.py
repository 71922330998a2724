"""From the train part, JSON lines of feedback.v1.Example, to the tokens that TRL trains on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from tidemill_kit.models.control_tokens import ControlTokens, encoded
from tidemill_trainer.domain.fit import ExampleCounts
from tidemill_trainer.training.failures import TrainingStopped

LONGEST_SHOWN = 200
_REFUSALS = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a template raises: by its own words, or because it cannot do with a turn what it does with others."""
Turns = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Example:
    """What came before an answer, and the answer, as messages with role and content."""

    prompt: Turns
    completion: Turns


@dataclass(frozen=True, slots=True)
class Row:
    """An example in tokens, the first `prompt` of which are not learnt."""

    tokens: Sequence[int]
    prompt: int

    @property
    def columns(self) -> Mapping[str, Sequence[int]]:
        """What TRL takes for a row that is tokenized already."""
        learnt = len(self.tokens) - self.prompt
        return {"input_ids": self.tokens, "completion_mask": [0] * self.prompt + [1] * learnt}


def read_examples(path: Path) -> list[Example]:
    """Return every example, also those without a prompt or an answer of text."""
    with path.open(encoding="utf-8") as lines:
        return [_example(json.loads(line)) for line in lines if line.strip()]


def rows_of(examples: Sequence[Example], tokenizer: Any, *, max_length: int) -> tuple[list[Row], ExampleCounts]:  # noqa: ANN401 - of transformers
    """Return the examples that are trained on, in tokens, and what became of the others.

    One that is too long is left out and not cut: the answer would be lost first. One whose turns the chat template of
    the base refuses is left out too.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE, with the words of the template, where it refuses every one.

    """
    control, rows, too_long = ControlTokens.of(tokenizer), [], 0
    whole = [example for example in examples if example.prompt and example.completion]
    refusals: list[str] = []
    for example in whole:
        try:
            row = _row(example, tokenizer, control)
        except _REFUSALS as error:
            refusals.append(_words(error, tokenizer.chat_template))
            continue
        if row.prompt == len(row.tokens):
            refusals.append("it shows no answer behind its question")
        elif len(row.tokens) > max_length:
            too_long += 1
        else:
            rows.append(row)
    if whole and len(refusals) == len(whole):
        message = f"the chat template of the base takes none of the {len(whole)} examples: {refusals[0]}"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE")
    counts = ExampleCounts(
        offered=len(examples),
        fitted=len(rows),
        too_long=too_long,
        refused=len(refusals),
        empty=len(examples) - len(whole),
    )
    return rows, counts


def refuse_too_few(counts: ExampleCounts, *, minimum: int, max_length: int) -> None:
    """Refuse to train on less than is worth it.

    Raises:
        TrainingStopped: DATASET_TOO_SMALL.

    """
    if counts.fitted < minimum:
        message = f"{counts.described(max_length=max_length)}, and {minimum} are needed"
        raise TrainingStopped(message, reason="DATASET_TOO_SMALL")


def _words(error: Exception, template: object) -> str:
    """Return what a template says where that is its own text and not a user's, else the kind of the error."""
    words = str(error)[:LONGEST_SHOWN]
    return words if words and isinstance(template, str) and words in template else type(error).__name__


def _row(example: Example, tokenizer: Any, control: ControlTokens) -> Row:  # noqa: ANN401 - of transformers
    prompt, completion = (
        [message | {"content": control.marked(message["content"])} for message in turns]
        for turns in (example.prompt, example.completion)
    )
    begin = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*prompt, *completion], tokenize=False)
    tokens, before = encoded(tokenizer, whole), encoded(tokenizer, begin)
    # Some templates put more before an answer to be given than before one that was given: what both have is the prompt.
    shared = (count for count, (one, other) in enumerate(zip(tokens, before, strict=False)) if one != other)
    return Row(tokens, next(shared, min(len(tokens), len(before))))


def _example(example: Mapping[str, Any]) -> Example:
    prompt = [_message(message) for message in example.get("messages", [])]
    completion = [_message(example["output"])] if example.get("output") else []
    return Example(
        [message for message in prompt if message["content"]], [message for message in completion if message["content"]]
    )


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role = str(message.get("role", "")).removeprefix("ROLE_").lower()
    content = "".join(part.get("text", "") for part in message.get("parts", []))
    return {"role": role, "content": content}
