"""Policies of routing: their limits, and the order of equal models."""

import random
from collections import Counter

import pytest

from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.routing.domain.policy import Balance, Routing, RoutingPolicy, ordered

WEIGHTS = {"a@1": 3, "b@1": 1}


def first(balance: Balance, *, affinity: str = "", busy: dict[str, int] | None = None, seed: int = 1) -> str:
    return ordered(
        WEIGHTS,
        balance,
        affinity=affinity,
        busy=lambda model: (busy or {}).get(model, 0),
        random=random.Random(seed).random,  # noqa: S311 - a test's own
    )[0]


def test_by_weight_a_model_is_first_as_often_as_its_weight_says() -> None:
    counts = Counter(first(Balance.WEIGHTED, seed=seed) for seed in range(2000))

    assert counts["a@1"] == pytest.approx(1500, abs=80)


def test_the_least_busy_model_for_its_weight_is_first() -> None:
    assert first(Balance.LEAST_BUSY, busy={"a@1": 1}) == "a@1"  # 2 / 3 is less than 1
    assert first(Balance.LEAST_BUSY, busy={"a@1": 4}) == "b@1"


def test_a_conversation_goes_to_one_model_and_all_of_them_by_weight() -> None:
    chosen = {str(number): first(Balance.PREFIX, affinity=str(number), seed=number) for number in range(2000)}

    assert all(first(Balance.PREFIX, affinity=name, seed=7) == model for name, model in chosen.items())
    assert Counter(chosen.values())["a@1"] == pytest.approx(1500, abs=80)


def test_a_model_more_moves_only_the_conversations_that_it_gets() -> None:
    def chosen(weights: dict[str, int], affinity: str) -> str:
        return ordered(weights, Balance.PREFIX, affinity=affinity, busy=lambda _: 0, random=lambda: 0.5)[0]

    names = [str(number) for number in range(500)]
    moved = {chosen(WEIGHTS | {"c@1": 4}, name) for name in names if chosen(WEIGHTS, name) == "a@1"}
    assert moved == {"a@1", "c@1"}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RoutingPolicy(retries=11), "routing.retries: is 11; use 0 to 10"),
        (RoutingPolicy(retries=-1), "routing.retries: is -1"),
        (RoutingPolicy(first_token_timeout_s=0.0), "routing.first_token_timeout: is 0 s; use more than 0"),
        (RoutingPolicy(token_timeout_s=3601.0), "at most 3600 s"),
        (RoutingPolicy(hedge_after_s=-1.0), "routing.hedge_after"),
        (RoutingPolicy(weight=0), "routing.weight: is 0; use a weight of 1 to 1000"),
        (RoutingPolicy(equal_models={"b": 1001}), r"routing.equal_models\[b\]: is 1001"),
        (RoutingPolicy(equal_models=dict.fromkeys(map(str, range(17)), 1)), "has 17; use at most 16"),
    ],
)
def test_a_policy_out_of_bounds_is_refused_by_field_value_and_limit(policy: RoutingPolicy, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        DeploymentSpec(model="a", prompt="p", routing=policy).check()


def test_a_model_that_rollouts_change_has_no_equals() -> None:
    spec = DeploymentSpec(model="a", prompt="p", follow="lora", routing=RoutingPolicy(equal_models={"b": 1}))

    with pytest.raises(InvalidInput, match="stands beside follow: lora"):
        spec.check()


def test_a_comparison_keeps_retries_and_times_but_has_one_model_and_no_hedge() -> None:
    policy = RoutingPolicy(
        retries=1, first_token_timeout_s=2.0, token_timeout_s=3.0, hedge_after_s=1.0, equal_models={"b": 1}
    )

    compared = Routing(policy=policy, equals={"b@1": 1}).of_one_model()

    assert compared.equals == {}
    assert compared.policy == RoutingPolicy(retries=1, first_token_timeout_s=2.0, token_timeout_s=3.0)
