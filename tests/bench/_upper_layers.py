"""Teaches the upper layers of a BERT encoder a task for a time; the lower layers stay as they are.

What the lower layers make of a text is computed once, within a third of the time, and read again in each pass over the
texts. On a busy machine there are fewer texts and fewer passes, and the rate of learning ends at zero all the same.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from tidemill_kit.models.numeric_format import computes_bfloat16

UPPER, BATCH, RATE, WARM_UP, SEED = 2, 32, 6e-4, 0.05, 11
READING = 1 / 3
"""Of the time, what the lower layers may take."""
MAX_BATCHES, REPORTED, MIN_S = 400, 25, 1e-3


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that are read together: vectors or tokens for the first layer, which are there, and what to find."""

    given: torch.Tensor
    there: torch.Tensor
    types: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """How many texts were learnt from, in how many batches (those of all passes), and the processor's seconds."""

    texts: int
    batches: int
    processor_s: float


def learn(
    network: Any,  # noqa: ANN401 - a BertFor... of transformers
    batches: Iterator[Batch],
    loss_of: Callable[[torch.Tensor, Batch], torch.Tensor],
    *,
    seconds: float,
) -> Learnt:
    """Teach a network by the loss of its last hidden states."""
    torch.manual_seed(SEED)
    random, began, before = Random(SEED), time.monotonic(), time.process_time()  # noqa: S311 - the same order each time
    layers = network.bert.encoder.layer
    lower = deepcopy(layers[:-UPPER])  # as the processor computes best, while those that are saved stay as they are
    lower.to(computed := torch.bfloat16 if computes_bfloat16() else torch.float32).eval()
    read = list[tuple[torch.Tensor, Batch]]()
    network.eval()
    while not read or (len(read) < MAX_BATCHES and time.monotonic() - began < seconds * READING):
        batch = next(batches)
        with torch.inference_mode():
            read.append((_passed(lower, _embedded(network, batch).to(computed), batch), batch))
    begun, step = time.monotonic() - began, 0
    left = max(seconds - begun, MIN_S)  # reading the first batch may have taken all of it
    network.train()
    taught = [each for layer in layers[-UPPER:] for each in layer.parameters()]
    taught += [each for name, each in network.named_parameters() if name.startswith(("classifier", "bert.pooler"))]
    optimizer = torch.optim.AdamW(taught, lr=RATE)
    while (done := (time.monotonic() - began - begun) / left) < 1:
        if step % len(read) == 0:
            random.shuffle(read)
        hidden, batch = read[step % len(read)]
        optimizer.param_groups[0]["lr"] = RATE * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
        loss = loss_of(_passed(layers[-UPPER:], hidden.clone().float(), batch).float(), batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        torch.nn.utils.clip_grad_norm_(taught, 1.0)
        optimizer.step()
        step += 1
        if step % REPORTED == 0:
            sys.stderr.write(f"{100 * done:.0f} %: {step} batches of {len(read)}, loss {loss.item():.4f}\n")
    network.eval()
    return Learnt(texts=len(read) * BATCH, batches=step, processor_s=time.process_time() - before)


def _embedded(network: Any, batch: Batch) -> torch.Tensor:  # noqa: ANN401 - ditto
    given = {"inputs_embeds" if batch.given.is_floating_point() else "input_ids": batch.given}
    embedded: torch.Tensor = network.bert.embeddings(**given, token_type_ids=batch.types)
    return embedded


def _passed(layers: Sequence[Any], hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    away = torch.zeros(batch.there.shape).masked_fill(batch.there == 0, -1e4)[:, None, None, :]
    with torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16()):
        for layer in layers:
            passed = layer(hidden, away)
            hidden = passed[0] if isinstance(passed, tuple) else passed
    return hidden


def padded(rows: Sequence[Sequence[int]], *, filler: int = 0) -> torch.Tensor:
    """Return the rows as one tensor."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)
