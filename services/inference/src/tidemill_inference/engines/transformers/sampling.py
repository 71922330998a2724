"""Each request of a batch chooses its tokens in its own way: greedy, or by a temperature, top-p, seed, and rules."""

import torch
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.requests import FutureRequestState

from tidemill_inference.engines.transformers.token_rules import TokenRules

_SEEDS = 2**63 - 1
_STRIDE = 1_000_003


class RequestSampling(ContinuousBatchingLogitsProcessor):
    """Perturbs the logits of requests that sample, so that the batch's arg max is their draw (the Gumbel-max trick).

    The noise depends on the request's seed and the token's position only, so that it is the same in every batch. Rules
    come before it: what they exclude is never drawn.
    """

    def __init__(self) -> None:
        self.supported_kwargs = {"temperature": float, "top_p": float, "seed": int, "rules": TokenRules}
        self.ignored_kwargs = ()
        self._rows: list[tuple[float, float, int, TokenRules | None]] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Leave nothing undefined; what counts is kept on this side."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> torch.Tensor:
        """Note how each row of the coming logits is drawn."""
        self._rows = []
        for request in requests_with_new_token:
            state, how = request.state, request.state.logit_processor_kwargs
            position = len(state.initial_tokens) + state.generated_len()
            seed = (how.get("seed", 0) * _STRIDE + position) % _SEEDS
            self._rows.append((how.get("temperature", 0.0), how.get("top_p", 1.0), seed, how.get("rules")))
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - see above
        """Return the logits, with rules applied, and those of sampling requests perturbed."""
        for row, (temperature, top_p, seed, rules) in enumerate(self._rows):
            if rules is not None:
                rules.shape(scores[row])
            if temperature > 0:
                scores[row] = _perturbed(scores[row], temperature=temperature, top_p=top_p, seed=seed)
            if rules is not None:
                rules.take(int(scores[row].argmax()))
        return scores


def _perturbed(logits: torch.Tensor, *, temperature: float, top_p: float, seed: int) -> torch.Tensor:
    scaled = logits / temperature
    if top_p < 1.0:
        ordered, order = scaled.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1).roll(1)
        before[0] = 0.0  # the likeliest token always stays
        scaled[order[before >= top_p]] = -torch.inf
    noise = torch.empty_like(scaled).exponential_(generator=torch.Generator().manual_seed(seed))
    return scaled - noise.log()


def per_request_processors() -> ContinuousBatchingLogitsProcessorList:
    """Return the processors for a manager whose own sampling is off."""
    processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([RequestSampling()]))
    processors.tensors_required = 1  # counted by transformers for its own processors only
    return processors
