"""How a deployment comes to an answer where models fail or are slow, as it was declared."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tidemill_core.errors import Violation

MAX_RETRIES = 10
MAX_EQUAL_MODELS = 16
MAX_WEIGHT = 1000
MAX_TIMEOUT_S = 3600.0
_FRACTION_BYTES = 7
"""A float holds 53 bits: seven bytes are a fraction that never rounds to 1."""


class Balance(Enum):
    """What selects among equal models."""

    WEIGHTED = "weighted"
    LEAST_BUSY = "least_busy"
    PREFIX = "prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Timeouts and retries of each model, and models that are equal to the deployment's; None is the default."""

    retries: int | None = None
    """Of a model, before its fallback is asked."""
    first_token_timeout_s: float | None = None
    token_timeout_s: float | None = None
    hedge_after_s: float | None = None
    """How long a model may be without a token until a second attempt begins beside it."""
    equal_models: Mapping[str, int] = field(default_factory=dict)
    """As they were written, with their weights."""
    weight: int = 1
    """Of the deployment's model."""
    balance: Balance = Balance.WEIGHTED

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        found = []
        if self.retries is not None and not 0 <= self.retries <= MAX_RETRIES:
            found.append(Violation(f"{path}.retries", f"is {self.retries}; use 0 to {MAX_RETRIES}"))
        for name in ("first_token_timeout", "token_timeout", "hedge_after"):
            value = getattr(self, f"{name}_s")
            if value is not None and not 0 < value <= MAX_TIMEOUT_S:
                text = f"is {value:g} s; use more than 0 and at most {MAX_TIMEOUT_S:g} s, or leave it out"
                found.append(Violation(f"{path}.{name}", text))
        if len(self.equal_models) > MAX_EQUAL_MODELS:
            text = f"has {len(self.equal_models)}; use at most {MAX_EQUAL_MODELS}"
            found.append(Violation(f"{path}.equal_models", text))
        weights = {"weight": self.weight, **{f"equal_models[{name}]": each for name, each in self.equal_models.items()}}
        found += [
            Violation(f"{path}.{name}", f"is {weight}; use a weight of 1 to {MAX_WEIGHT}")
            for name, weight in weights.items()
            if not 1 <= weight <= MAX_WEIGHT
        ]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """A policy with its references resolved: `equals` are `model@version`, with their weights."""

    policy: RoutingPolicy = field(default_factory=RoutingPolicy)
    equals: Mapping[str, int] = field(default_factory=dict)

    def of_one_model(self) -> "Routing":
        """Return what applies to a comparison, which is of one model: neither equals nor hedges."""
        policy = RoutingPolicy(
            retries=self.policy.retries,
            first_token_timeout_s=self.policy.first_token_timeout_s,
            token_timeout_s=self.policy.token_timeout_s,
        )
        return Routing(policy=policy)


def ordered(
    weights: Mapping[str, int],
    balance: Balance,
    *,
    affinity: str,
    busy: Callable[[str], int],
    random: Callable[[], float],
) -> Sequence[str]:
    """Return equal models in the order in which they are asked.

    `affinity` names a conversation, `busy` are the attempts in progress of a model, `random` is uniform in [0, 1).
    The first places of WEIGHTED and PREFIX are shared out as the weights are: an exponential variable of rate w is the
    least of several with probability w / sum (Efraimidis and Spirakis 2006), and a hash is as good as a random number.
    Where a model is added or removed, PREFIX moves only the conversations that it gets, or had (rendezvous hashing,
    Thaler and Ravishankar 1998).
    """

    def rank(model: str) -> float:
        if balance is Balance.LEAST_BUSY:
            return (busy(model) + 1) / weights[model]
        fraction = _hashed(affinity, model) if balance is Balance.PREFIX else random()
        return -math.log(1.0 - fraction) / weights[model]

    return sorted(weights, key=lambda model: (rank(model), random()))


def _hashed(affinity: str, model: str) -> float:
    """Return a number in [0, 1) for a pair."""
    digest = hashlib.sha256(f"{affinity}\0{model}".encode("utf-8", "replace")).digest()[:_FRACTION_BYTES]
    return (int.from_bytes(digest) >> 3) / 2**53
