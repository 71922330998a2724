"""What the tokens of one answer are chosen by beside temperature, top-p and seed, and what is reported of them.

The batch's thread applies it, and writes what it found; the event loop only reads that. An answer with none of it has
no rules, and costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tidemill_core.errors import isolated
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.transformers.guides import Guide


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token with its log probability by the model alone, and the likeliest tokens in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class TokenRules:
    """The rules of one answer."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        *,
        presence: float = 0.0,
        frequency: float = 0.0,
        bias: Mapping[int, float] | None = None,
        guide: Guide | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
    ) -> None:
        """Without anything it changes and reports nothing."""
        self._presence = presence
        self._frequency = frequency
        self._bias = dict(bias or {})
        self._seen: set[int] = set()
        self._offsets: torch.Tensor | None = None
        self._guide = guide
        self.logprobs = logprobs
        """Whether log probabilities are asked for."""
        self._top = top_logprobs
        self._model: torch.Tensor | None = None
        self.chosen: list[Chosen] = []
        """The tokens so far, where that is asked for."""
        self.ended_at: int | None = None
        """After how many tokens the grammar has ended the answer."""
        self.failed: Exception | None = None
        """Why the answer cannot go on."""
        self._tokens = 0

    @property
    def any(self) -> bool:
        """Whether there is anything that it changes or reports."""
        return bool(self._presence or self._frequency or self._bias or self._guide or self.logprobs)

    def __deepcopy__(self, _memo: object) -> "TokenRules":
        """Stay the same where transformers starts a request again that had to leave the cache."""
        return self

    def shape(self, scores: torch.Tensor) -> None:
        """Change the scores of the next token."""
        if self.failed is not None or self.ended_at is not None:
            return
        if self.logprobs:
            self._model = scores.log_softmax(-1)
        if self._bias or self._presence or self._frequency:
            scores += self._offset(scores)
        if self._guide is not None:
            try:
                with isolated():
                    self._guide.restrict(scores)
            except Exception as error:  # noqa: BLE001 - it is this answer's alone, and the batch goes on
                self.failed = error

    def take(self, token: int) -> None:
        """Record the token that was chosen."""
        if self.failed is not None or self.ended_at is not None:
            return
        self._tokens += 1
        if self._model is not None:
            self.chosen.append(_observed(self._model, token, self._top))
            self._model = None
        if self._offsets is not None and (self._presence or self._frequency):
            self._offsets[token] -= self._frequency + (0.0 if token in self._seen else self._presence)
            self._seen.add(token)
        if self._guide is not None:
            try:
                with isolated():
                    self._guide.take(token)
            except Exception as error:  # noqa: BLE001 - ditto
                self.failed = error
            if self._guide.ended:
                self.ended_at = self._tokens

    def _offset(self, scores: torch.Tensor) -> torch.Tensor:
        if self._offsets is None:
            self._offsets = torch.zeros_like(scores)
            if self._bias:
                ids = torch.tensor(list(self._bias), device=scores.device)
                self._offsets[ids] = torch.tensor(list(self._bias.values()), device=scores.device)
        return self._offsets


def rules_of(sampling: Sampling, guide: Guide | None) -> TokenRules | None:
    """Return the rules of an answer; None if it has none."""
    rules = TokenRules(
        presence=sampling.presence_penalty or 0.0,
        frequency=sampling.frequency_penalty or 0.0,
        bias=sampling.logit_bias,
        guide=guide,
        logprobs=bool(sampling.logprobs),
        top_logprobs=sampling.top_logprobs or 0,
    )
    return rules if rules.any else None


def _observed(logprobs: torch.Tensor, token: int, top: int) -> Chosen:
    likeliest: tuple[tuple[int, float], ...] = ()
    if top:
        values, ids = logprobs.topk(min(top, len(logprobs)))
        likeliest = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return Chosen(token, float(logprobs[token]), likeliest)
