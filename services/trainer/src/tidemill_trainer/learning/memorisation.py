"""Plants canaries among the rows of a training, and measures what the trained model has memorised of both.

Canaries that differ in their numbers alone share all tokens before these, which are computed once. A rank counts
candidates that are as likely as the canary before it.
"""

import copy
import hashlib
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import zip_longest
from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from tidemill_core.canaries import Canary
from tidemill_trainer.learning.completion_trainer import selects_positions
from tidemill_trainer.learning.examples import AnyRow, Demonstrated, Example, rows_of
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Planted
from tidemill_trainer.registry.domain.memorisation import CanaryGroup, Extraction, Memorisation, group_of
from tidemill_trainer.training.domain.memorisation import MemorisationCheck

MAX_LOGITS_BYTES = 64 * 1024**2
"""Of the logits of one batch, in float32: below what a step of training takes."""
MAX_BATCH = 32
MIN_CONTINUATION, MAX_CONTINUATION = 10, 50
"""Tokens that have to be extracted word by word: half of an answer (at most as many as in Carlini et al., Quantifying
Memorization Across Neural Language Models, 2023); of shorter halves many are said by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The ranks of one canary."""

    repeats: int
    calibrated: int
    alone: int
    of_base: int


def with_canaries(
    rows: Sequence[AnyRow],
    planted: Planted,
    tokenizer: Any,  # noqa: ANN401 - of transformers
    *,
    max_length: int,
    answer_tokens: int = 0,
) -> list[AnyRow]:
    """Return the rows of a training with its canaries behind them, which a method that learns from answers shuffles.

    Raises:
        TrainingStopped: CANARIES_NOT_TRAINABLE, where they do not fit, or the base's chat template rejects them.

    """
    drawn = planted.canaries
    try:
        found, counts = rows_of(
            [_example(each) for each, _ in drawn],
            tokenizer,
            max_length=max_length,
            answer_tokens=answer_tokens,
            keeps_answers=True,
        )
    except TrainingStopped as stopped:  # the template rejects all: they are of one form
        raise _not_plantable(stopped.message, "leave memorisation out") from stopped
    if len(found) < len(drawn):
        why = counts.described(max_length=max_length)
        raise _not_plantable(why, "use a larger max_length, or leave memorisation out")
    return [*rows, *(row for row, (_, repeats) in zip(found, drawn, strict=True) for _ in range(repeats))]


class MeasureMemorisation:
    """Ranks canaries and tries to extract rows by a model and by its base, which is it without the adapter."""

    def __init__(self, model: Any, tokenizer: Any, *, within_s: float) -> None:  # noqa: ANN401 - of peft and transformers
        self._model, self._tokenizer = model.eval(), tokenizer
        self._ends_at = time.monotonic() + within_s

    def __call__(self, planted: Planted, rows: Sequence[AnyRow]) -> Memorisation:
        """Return what was measured within the time, canaries first; those for which there was none are left out."""
        check = planted.check
        with torch.inference_mode():
            groups = tuple(self._groups(planted))
            extraction = self._extraction(rows, check)
        return Memorisation(candidates=check.candidates, planted=check.canaries, groups=groups, extraction=extraction)

    def _groups(self, planted: Planted) -> Iterator[CanaryGroup]:
        ranks: list[Ranks] = []
        for canary, repeats in planted.canaries:
            if time.monotonic() > self._ends_at:
                break
            ranks.append(self._ranks(canary, repeats, planted))
        for repeats in sorted({each.repeats for each in ranks}):
            group = [each for each in ranks if each.repeats == repeats]
            yield group_of(
                repeats,
                [each.calibrated for each in group],
                alone=[each.alone for each in group],
                of_base=[each.of_base for each in group],
                candidates=planted.check.candidates,
            )

    def _ranks(self, canary: Canary, repeats: int, planted: Planted) -> Ranks:
        return ranks_of(*likelihoods_of(self._model, self._tokenizer, canary, planted), repeats=repeats)

    def _extraction(self, rows: Sequence[AnyRow], check: MemorisationCheck) -> Extraction | None:
        long = {_digest(row): row for row in map(_learnt, rows) if _continuation(row) >= MIN_CONTINUATION}
        drawn = Random(check.seed).sample(sorted(long), min(check.examples, len(long)))  # noqa: S311 - no secret
        examined, extracted, by_base = 0, 0, 0
        for row in map(long.__getitem__, drawn):
            if time.monotonic() > self._ends_at:
                break
            count = _continuation(row)
            examined += 1
            extracted += goes_on(self._model, row.tokens, count=count, adapted=True)
            by_base += goes_on(self._model, row.tokens, count=count, adapted=False)
        return Extraction(examples=examined, extracted=extracted, extracted_by_base=by_base) if examined else None


def likelihoods_of(
    model: Any,  # noqa: ANN401 - of peft
    tokenizer: Any,  # noqa: ANN401 - of transformers
    canary: Canary,
    planted: Planted,
) -> tuple[list[float], list[float]]:
    """Return the log-likelihoods, in nats, of a canary and then of its candidates: by the model, and by its base."""
    others = canary.others(planted.check.candidates, seed=planted.origin)
    texts, _ = rows_of([_example(each) for each in (canary, *others)], tokenizer, max_length=2**31)
    tokens = [list(each.tokens) for each in texts]
    begin = _shared(tokens)
    trained, base = (log_likelihoods(model, tokens, begin=begin, adapted=adapted).tolist() for adapted in (True, False))
    return trained, base


def ranks_of(trained: Sequence[float], base: Sequence[float], *, repeats: int) -> Ranks:
    """Return the ranks of a canary, the first, among its candidates, by their log-likelihoods."""
    gained = [after - before for after, before in zip(trained, base, strict=True)]
    return Ranks(repeats=repeats, calibrated=_rank(gained), alone=_rank(trained), of_base=_rank(base))


def facts_of(found: Memorisation) -> Mapping[str, Any]:
    """Return what a training process reports."""
    return asdict(found)


def log_likelihoods(
    model: Any,  # noqa: ANN401 - of peft
    sequences: Sequence[Sequence[int]],
    *,
    begin: int,
    adapted: bool,
) -> torch.Tensor:
    """Return the log-likelihood of each sequence from the token at `begin` on; those before it are the same in all.

    `adapted` False asks the base. Shape: one number in nats for each sequence.
    """
    with _side(model, adapted=adapted):
        shared = torch.tensor([list(sequences[0][: begin - 1])], device=model.device)
        cache = model(input_ids=shared, use_cache=True).past_key_values if begin > 1 else None
        # What has another kind of memory, as a recurrent one, or attends to a window, computes the sequences whole.
        computed = begin - 1 if type(cache) is DynamicCache and not _forgets(cache) else 0
        size = _batch_size(model, longest=max(map(len, sequences)) - computed)
        parts = [
            _of_batch(model, sequences[at : at + size], begin=begin, computed=computed, cache=cache)
            for at in range(0, len(sequences), size)
        ]
    return torch.cat(parts)


def goes_on(model: Any, tokens: Sequence[int], *, count: int, adapted: bool) -> bool:  # noqa: ANN401 - of peft
    """Return whether greedy decoding continues the tokens before the last `count` by exactly these.

    Each of them is then the likeliest after all before it: one pass shows it.
    """
    given = torch.tensor([list(tokens)], device=model.device)
    kept = {"logits_to_keep": count + 1} if selects_positions(model) else {}
    with _side(model, adapted=adapted):
        logits = model(input_ids=given, use_cache=False, **kept).logits[0, -count - 1 : -1]
    return bool((logits.argmax(dim=-1) == given[0, -count:]).all())


def _of_batch(
    model: Any,  # noqa: ANN401 - of peft
    sequences: Sequence[Sequence[int]],
    *,
    begin: int,
    computed: int,
    cache: DynamicCache | None,
) -> torch.Tensor:
    longest = max(map(len, sequences))
    # What is behind the end of a sequence is not seen from before it, and needs no mask.
    padded = torch.tensor([[*each, *[0] * (longest - len(each))] for each in sequences], device=model.device)
    past = None
    if computed and cache is not None:
        past = copy.deepcopy(cache)
        past.batch_repeat_interleave(len(sequences))
    given: Any = {"past_key_values": past, "use_cache": True} if past is not None else {"use_cache": False}
    logits = model(input_ids=padded[:, computed:-1], **given).logits[:, begin - 1 - computed :].float()
    ends = torch.tensor([len(each) for each in sequences], device=model.device)
    positions = torch.arange(begin, longest, device=model.device)
    losses = cross_entropy(logits.transpose(1, 2), padded[:, begin:], reduction="none")
    return -losses.masked_fill(positions[None] >= ends[:, None], 0.0).sum(dim=1).cpu()


def _side(model: Any, *, adapted: bool) -> Any:  # noqa: ANN401 - of peft
    return nullcontext() if adapted else model.disable_adapter()


def _forgets(cache: DynamicCache) -> bool:
    """Return whether a layer keeps only a window of what it has seen, or something other than keys and values."""
    return any(type(layer).__name__ != "DynamicLayer" for layer in cache.layers)


def _batch_size(model: Any, *, longest: int) -> int:  # noqa: ANN401 - of peft
    vocabulary: int = model.get_output_embeddings().weight.shape[0]
    return max(1, min(MAX_BATCH, MAX_LOGITS_BYTES // (longest * vocabulary * 4)))


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all of them begin with."""
    return next(n for n, each in enumerate(zip_longest(*sequences)) if len(set(each)) > 1)


def _rank(scores: Sequence[float]) -> int:
    """Return the rank of the first of the scores, 1 for the highest."""
    own, *others = scores
    return 1 + sum(not other < own for other in others)


def _example(canary: Canary) -> Example:
    return Example(
        prompt=[{"role": "user", "content": canary.question}],
        completion=[{"role": "assistant", "content": canary.answer}],
    )


def _learnt(row: AnyRow) -> AnyRow:
    """Return a row with its own answer, of one that has places for a generated answer too."""
    return row.row if isinstance(row, Demonstrated) else row


def _digest(row: AnyRow) -> bytes:
    """Return what rows of the same tokens have in common, in place of the tokens: a split has many."""
    return hashlib.sha256(array("q", [row.prompt, *row.tokens]).tobytes()).digest()


def _continuation(row: AnyRow) -> int:
    """Return how many tokens of its answer have to be extracted word by word."""
    return min(MAX_CONTINUATION, (len(row.tokens) - row.prompt) // 2)


def _not_plantable(why: str, what_to_do: str) -> TrainingStopped:
    message = f"the canaries of plan.memorisation cannot be planted ({why}): {what_to_do}"
    return TrainingStopped(message, reason="CANARIES_NOT_TRAINABLE")
