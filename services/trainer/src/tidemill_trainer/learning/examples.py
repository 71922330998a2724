"""Converts the train split (JSON lines of feedback.v1.Example) to tokens for TRL."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from jinja2 import TemplateError

from tidemill_kit.models.control_tokens import ControlTokens, encoded
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.training.domain.fit import ExampleCounts

LONGEST_SHOWN = 200
DEMONSTRATION, PREFERENCE = "EXAMPLE_KIND_DEMONSTRATION", "EXAMPLE_KIND_PREFERENCE"
UNPAIRED = "EXAMPLE_KIND_UNPAIRED_PREFERENCE"
"""The kinds of examples; those that name none are demonstrations."""
_REFUSALS = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of a chat template: its own, or those of an unsupported turn."""
Turns = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation and its answer, as messages with role and content; of a preference the rejected answer too."""

    prompt: Turns
    completion: Turns
    rejected: Turns | None = None
    good: bool | None = None
    """Of an unpaired preference: whether the answer is good."""

    @property
    def is_whole(self) -> bool:
        """Whether there is text in each part of it."""
        return bool(self.prompt and self.completion and self.rejected != [])


@dataclass(frozen=True, slots=True)
class Row:
    """A tokenized example; the first `prompt` tokens are excluded from the loss."""

    tokens: Sequence[int]
    prompt: int

    @property
    def columns(self) -> Mapping[str, Sequence[int]]:
        """The row in TRL's format for tokenized data."""
        learnt = len(self.tokens) - self.prompt
        return {"input_ids": self.tokens, "completion_mask": [0] * self.prompt + [1] * learnt}


@dataclass(frozen=True, slots=True)
class Pair:
    """A tokenized preference. Both answers stand after the same prompt."""

    chosen: Row
    rejected: Row

    @property
    def tokens(self) -> Sequence[int]:
        """The longer one of the two sequences."""
        return max(self.chosen.tokens, self.rejected.tokens, key=len)

    @property
    def prompt(self) -> int:
        """The number of tokens before either answer."""
        return min(self.chosen.prompt, self.rejected.prompt)

    @property
    def columns(self) -> Mapping[str, Sequence[int]]:
        """The pair in TRL's format for tokenized preferences."""
        return {
            "prompt_ids": self.chosen.tokens[: self.prompt],
            "chosen_ids": self.chosen.tokens[self.prompt :],
            "rejected_ids": self.rejected.tokens[self.prompt :],
        }


@dataclass(frozen=True, slots=True)
class Labelled:
    """A tokenized answer that is good or bad."""

    row: Row
    good: bool

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens of prompt and answer."""
        return self.row.tokens

    @property
    def prompt(self) -> int:
        """The number of tokens before the answer."""
        return self.row.prompt

    @property
    def columns(self) -> Mapping[str, Any]:
        """The answer in TRL's format for tokenized unpaired preferences."""
        tokens, prompt = self.row.tokens, self.row.prompt
        return {"prompt_ids": tokens[:prompt], "completion_ids": tokens[prompt:], "label": self.good}


@dataclass(frozen=True, slots=True)
class Prompted:
    """A tokenized prompt that answers are generated for, with as many places after it as an answer may take."""

    row: Row
    reference: str
    """The answer of the example, which checks may compare with."""
    asked: Turns
    """The prompt, which a judge reads."""

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens of the prompt, and the places of the longest answer."""
        return self.row.tokens

    @property
    def prompt(self) -> int:
        """The number of tokens before the answer."""
        return self.row.prompt

    @property
    def columns(self) -> Mapping[str, Any]:
        """The prompt as it is generated for, beside what rewards need."""
        prompt = self.row.tokens[: self.prompt]
        return {"prompt": prompt, "reference": self.reference, "asked": json.dumps(self.asked)}


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """A tokenized example whose answer, or one that is generated in its place, is learnt from."""

    row: Row
    answer_tokens: int
    """The places that a generated answer may take."""

    @property
    def tokens(self) -> Sequence[int]:
        """The longer one of both: its own tokens, or those of the prompt with the places of a generated answer."""
        generated = self.row.prompt + self.answer_tokens
        return (
            self.row.tokens if len(self.row.tokens) >= generated else [*self.row.tokens[: self.prompt], *self._places]
        )

    @property
    def prompt(self) -> int:
        """The number of tokens before the answer."""
        return self.row.prompt

    @property
    def columns(self) -> Mapping[str, Sequence[int]]:
        """The example in TRL's format for tokenized data."""
        return self.row.columns

    @property
    def _places(self) -> Sequence[int]:
        return [0] * self.answer_tokens


@dataclass(frozen=True, slots=True)
class Packed:
    """Tokenized examples one after the other in a sequence; `prompt` is how many of its tokens are not learnt."""

    tokens: Sequence[int]
    prompt: int


AnyRow: TypeAlias = Row | Pair | Labelled | Prompted | Demonstrated


def read_examples(path: Path, *, kinds: Collection[str] = (DEMONSTRATION,)) -> list[Example]:
    """Return every example, also those without a textual prompt or answer.

    Raises:
        TrainingStopped: EXAMPLES_NOT_TRAINABLE, where one is of another kind.

    """
    with path.open(encoding="utf-8") as lines:
        return [_example(json.loads(line), kinds) for line in lines if line.strip()]


def drawn_examples(path: Path, *, kinds: Collection[str], seed: int) -> Iterator[Example]:
    """Yield every example in an order drawn by a seed, and read one only when it is asked for.

    Raises:
        TrainingStopped: EXAMPLES_NOT_TRAINABLE, where one is of another kind.

    """
    with path.open("rb") as lines:
        sizes = [(len(line), not line.isspace()) for line in lines]
        begins = accumulate((size for size, _ in sizes), initial=0)
        places = [begin for begin, (_, is_example) in zip(begins, sizes, strict=False) if is_example]
        Random(seed).shuffle(places)  # noqa: S311 - no secret
        for place in places:
            lines.seek(place)
            yield _example(json.loads(lines.readline()), kinds)


def rows_of(
    examples: Sequence[Example],
    tokenizer: Any,  # noqa: ANN401 - of transformers
    *,
    max_length: int,
    answer_tokens: int = 0,
    keeps_answers: bool = False,
) -> tuple[list[AnyRow], ExampleCounts]:
    """Return the usable examples as tokens, preferences as pairs, and the counts of all.

    With `answer_tokens` they are prompts, for which answers of at most so many tokens are generated; with
    `keeps_answers` their own answers are learnt from, too.

    Examples above `max_length` are skipped rather than truncated, since truncation would cut the answer. Examples that
    the base's chat template rejects are skipped too, and preferences whose two answers are the same.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE, with the words of the template, where it refuses every one.

    """
    control, rows, too_long, alike = ControlTokens.of(tokenizer), list[AnyRow](), 0, 0
    whole = [example for example in examples if example.is_whole]
    refusals: list[str] = []
    for example in whole:
        try:
            row = _row(example, tokenizer, control, answer_tokens, keeps_answers=keeps_answers)
        except _REFUSALS as error:
            refusals.append(_words(error, tokenizer.chat_template))
            continue
        if isinstance(row, Pair) and row.chosen.tokens == row.rejected.tokens:
            alike += 1
        elif row.prompt == len(row.tokens):
            refusals.append("it renders no answer after the question")
        elif len(row.tokens) > max_length:
            too_long += 1
        else:
            rows.append(row)
    if whole and len(refusals) == len(whole):
        message = f"the chat template of the base rejects all {len(whole)} examples: {refusals[0]}"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE")
    counts = ExampleCounts(
        offered=len(examples),
        fitted=len(rows),
        too_long=too_long,
        refused=len(refusals),
        empty=len(examples) - len(whole),
        alike=alike,
    )
    return rows, counts


def labelled(rows: Sequence[AnyRow], *, seed: int) -> list[AnyRow]:
    """Return every answer with its label, those of a pair as a good and a bad one, in a random order.

    Raises:
        TrainingStopped: ONE_LABEL_ONLY, where all are good or all are bad.

    """
    answers: list[Labelled] = []
    for row in rows:
        if isinstance(row, Pair):
            answers += Labelled(row.chosen, good=True), Labelled(row.rejected, good=False)
        elif isinstance(row, Labelled):
            answers.append(row)
    good = sum(each.good for each in answers)
    if not 0 < good < len(answers):
        message = (
            f"{good} of {len(answers)} answers are good: this method compares good answers with bad ones and needs both"
        )
        raise TrainingStopped(message, reason="ONE_LABEL_ONLY")
    Random(seed).shuffle(answers)  # noqa: S311 - no secret: TRL reads them in the order of the dataset
    return [*answers]


def refuse_too_few(counts: ExampleCounts, *, minimum: int, max_length: int) -> None:
    """Check the minimum number of examples.

    Raises:
        TrainingStopped: DATASET_TOO_SMALL.

    """
    if counts.fitted < minimum:
        message = f"{counts.described(max_length=max_length)}; at least {minimum} are needed"
        raise TrainingStopped(message, reason="DATASET_TOO_SMALL")


def _words(error: Exception, template: object) -> str:
    """Return a template's message if it is the template's own text and not a user's, else the error's type."""
    words = str(error)[:LONGEST_SHOWN]
    return words if words and isinstance(template, str) and words in template else type(error).__name__


def _row(
    example: Example,
    tokenizer: Any,  # noqa: ANN401 - ditto
    control: ControlTokens,
    answer_tokens: int,
    *,
    keeps_answers: bool,
) -> AnyRow:
    if answer_tokens and not keeps_answers:
        prompt = encoded(tokenizer, _begun(_marked(example.prompt, control), tokenizer))
        reference = "".join(turn["content"] for turn in example.completion)
        return Prompted(Row([*prompt, *[0] * answer_tokens], len(prompt)), reference, example.prompt)
    chosen = _answered(example.prompt, example.completion, tokenizer, control)
    if example.good is not None:
        return Labelled(chosen, good=example.good)
    if example.rejected is None:
        return Demonstrated(chosen, answer_tokens) if answer_tokens else chosen
    return Pair(chosen, _answered(example.prompt, example.rejected, tokenizer, control))


def _answered(prompt: Turns, completion: Turns, tokenizer: Any, control: ControlTokens) -> Row:  # noqa: ANN401 - of transformers
    prompt, completion = _marked(prompt, control), _marked(completion, control)
    begin = _begun(prompt, tokenizer)
    whole = tokenizer.apply_chat_template([*prompt, *completion], tokenize=False)
    tokens, before = encoded(tokenizer, whole), encoded(tokenizer, begin)
    # Some templates render more before a requested answer than before a given one: the prompt is the common prefix.
    shared = (count for count, (one, other) in enumerate(zip(tokens, before, strict=False)) if one != other)
    return Row(tokens, next(shared, min(len(tokens), len(before))))


def _marked(turns: Turns, control: ControlTokens) -> Turns:
    return [message | {"content": control.marked(message["content"])} for message in turns]


def _begun(prompt: Turns, tokenizer: Any) -> str:  # noqa: ANN401 - of transformers
    begin: str = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return begin


def _example(example: Mapping[str, Any], kinds: Collection[str]) -> Example:
    kind = str(example.get("kind", DEMONSTRATION))
    if kind not in kinds:
        message = (
            f"the dataset has an example of kind {kind[:40]}, and this method learns from {' or '.join(kinds)}: use "
            "sft, distill or grpo for demonstrations, dpo, orpo, kto, reward or grpo for preferences, kto for unpaired "
            "preferences"
        )
        raise TrainingStopped(message, reason="EXAMPLES_NOT_TRAINABLE")
    rejected = _turns([example.get("rejected")]) if kind == PREFERENCE else None
    good = bool(example.get("label")) if kind == UNPAIRED else None
    return Example(_turns(example.get("messages", [])), _turns([example.get("output")]), rejected, good)


def _turns(messages: Sequence[Mapping[str, Any] | None]) -> Turns:
    """Return the messages that have text."""
    return [turn for message in messages if message and (turn := _message(message))["content"]]


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role = str(message.get("role", "")).removeprefix("ROLE_").lower()
    content = "".join(part.get("text", "") for part in message.get("parts", []))
    return {"role": role, "content": content}
