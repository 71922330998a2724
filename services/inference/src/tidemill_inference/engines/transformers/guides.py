"""Grammars over a model's vocabulary: which tokens an answer may go on with. By llguidance."""

import threading
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from tidemill_core.errors import isolated
from tidemill_inference.engines.grammars import LIMITS, GrammarRefused, said
from tidemill_inference.engines.local import is_readable

_BUDGET_S, _BUDGET_A_TOKEN_S = 0.25, 0.002
"""Processor time for masks: a grammar that takes more holds up the batch, and ends its own answer."""


class Vocabulary:
    """The tokens of a tokenizer as bytes; made with its first use, which blocks for a part of a second."""

    def __init__(self, tokenizer: Any, *, ends: Collection[int]) -> None:  # noqa: ANN401 - of transformers
        self._tokenizer = tokenizer
        own = tokenizer.eos_token_id
        self._end = own if own in ends else min(ends, default=None)
        """What a guided answer ends with; others are no text of it."""
        self._special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        self._lock = threading.Lock()
        self._made: LLTokenizer | None = None

    @property
    def readable(self) -> bool:
        """Whether the bytes of tokens can be known, without which there is no guiding."""
        return is_readable(repr(self._tokenizer.backend_tokenizer.decoder))

    def load(self) -> None:
        """Make it now; blocks."""
        if self.readable:
            self._tokens  # noqa: B018 - it is made where it is first read

    @property
    def _tokens(self) -> LLTokenizer:
        with self._lock, isolated():
            if self._made is None:
                backend = self._tokenizer.backend_tokenizer.to_str()
                self._made = LLTokenizer(backend, eos_token=self._end)
            return self._made

    def guide(self, grammar: str) -> "Guide":
        """Return a guide by a grammar that was checked; blocks while it is compiled.

        Raises:
            GrammarRefused: it cannot be followed in this vocabulary.

        """
        with isolated():
            matcher = LLMatcher(self._tokens, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
        if matcher.is_error():
            raise GrammarRefused(why=said(matcher.get_error()))
        return Guide(matcher, self._tokens.vocab_size)

    def utf8(self, token: int) -> bytes:
        """Return the bytes of a token."""
        if token in self._special:
            return str(self._special[token]).encode()
        if not self.readable:
            return str(self._tokenizer.decode([token])).encode()
        return self._tokens.decode_bytes([token])

    def decoded(self, token: int) -> tuple[str, bytes]:
        """Return the text of a token, which may be a part of a character, and its bytes."""
        utf8 = self.utf8(token)
        return utf8.decode(errors="replace"), utf8


class Guide:
    """Where one answer stands in its grammar. Used by one thread at a time."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros((vocabulary + 31) // 32, dtype=np.int32)
        self._spent_s = 0.0
        self._tokens = 0
        self.ended = False
        """Whether the answer is whole, and nothing may follow."""

    def fork(self) -> "Guide":
        """Return another one that stands where this one does."""
        return Guide(self._matcher.deep_copy(), len(self._mask) * 32)

    def restrict(self, scores: torch.Tensor) -> None:
        """Set the scores of what may not follow to minus infinity.

        Raises:
            GrammarRefused: the grammar takes too much.

        """
        began = time.thread_time()
        with isolated():
            self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._spent_s += time.thread_time() - began
        if self._matcher.is_error():
            raise GrammarRefused(why=said(self._matcher.get_error()))
        if self._spent_s > _BUDGET_S + _BUDGET_A_TOKEN_S * self._tokens:
            raise GrammarRefused(why="choosing tokens by it takes too long")
        bits = np.unpackbits(self._mask.view(np.uint8), bitorder="little")[: len(scores)]
        scores[len(bits) :] = -torch.inf
        refused = torch.from_numpy(np.flatnonzero(bits == 0)).to(scores.device)
        scores.index_fill_(0, refused, -torch.inf)

    def take(self, token: int) -> None:
        """Go on by a token.

        Raises:
            GrammarRefused: the grammar takes too much.

        """
        self._tokens += 1
        with isolated():
            taken = self._matcher.consume_token(token)
        if not taken:
            raise GrammarRefused(why=said(self._matcher.get_error()))
        self.ended = self._matcher.is_stopped()
