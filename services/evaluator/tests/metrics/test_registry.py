from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.harness import registry
from tidemill_core.application import Caller
from tidemill_core.errors import PreconditionFailed
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Metric, Pair, PairScores
from tidemill_evaluator.metrics.registry import ALWAYS, METRICS, scores_of
from tidemill_evaluator.suites.domain.cases import Case

CASE = Case(id="c1", question="what is it?", reference="it is 7")
BOTH = Pair(
    case=CASE,
    baseline=GivenAnswer(text="no", total_s=2.0, max_concurrent=4),
    candidate=GivenAnswer(
        text="it is 7!", citation_valid=0.5, total_s=1.0, max_concurrent=4, output_tokens=5, cost=0.25
    ),
)


class Starred:
    """A family with a parameter: `stars:N` is N for every answer, and the project may use no more than five."""

    names: Sequence[str] = ("stars:NAME",)

    def find(self, name: str) -> Metric | None:
        return Metric(name=name, source="stars") if name.startswith("stars:") else None

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        assert caller.project
        assert not gating
        if "stars:6" in names:
            message = "stars:6 is more than five"
            raise PreconditionFailed(message)

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        assert caller.project
        assert answering
        assert not gating
        return dict.fromkeys(names, "v1")

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        assert caller.project
        return PairScores(candidate={name: float(name.removeprefix("stars:")) for name in names if pair.candidate})


def test_an_answer_has_a_value_by_every_metric() -> None:
    scores = scores_of(list(METRICS), BOTH)

    assert scores.candidate == {
        "rouge_l": 1.0,
        "token_f1": 1.0,
        "citation_valid": 0.5,
        "output_chars": 8.0,
        "exact_match": 1.0,
        "json_valid": 0.0,
        "refusal": 0.0,
        "lix": 2.0,
        "latency_s": 1.0,
        "cost": 0.25,
        "output_tokens": 5,
    }
    assert scores.baseline == {
        "rouge_l": 0.0,
        "token_f1": 0.0,
        "citation_valid": 0.0,
        "output_chars": 2.0,
        "exact_match": 0.0,
        "json_valid": 0.0,
        "refusal": 0.0,
        "lix": 1.0,
        "latency_s": 2.0,
        "cost": None,
        "output_tokens": None,
    }


def test_latencies_of_an_unlike_load_are_no_values() -> None:
    assert BOTH.baseline
    alone = replace(BOTH, baseline=replace(BOTH.baseline, max_concurrent=1))

    scores = scores_of(["latency_s"], alone)

    assert (scores.baseline, scores.candidate) == ({"latency_s": None}, {"latency_s": None})


def test_a_failure_has_no_scores() -> None:
    assert scores_of(ALWAYS, replace(BOTH, candidate=None)).candidate == {}


def test_what_is_always_computed_and_what_is_asked_for_apply_to_a_case_that_carries_what_they_need() -> None:
    known = registry(Starred())

    assert known.applying(["exact_match", "stars:3"], CASE) == [*ALWAYS, "exact_match", "stars:3"]
    assert known.applying(["exact_match"], replace(CASE, reference=" ")) == ["citation_valid", "output_chars"]


async def test_metrics_of_all_families_are_found_and_scored_together() -> None:
    known = registry(Starred())

    scores = await known.scores(ADA, ["exact_match", "stars:3"], BOTH)

    assert scores.candidate == {"exact_match": 1.0, "stars:3": 3.0}
    assert known.names == [*METRICS, "bleu", "chrf", "meteor", "json_schema", "stars:NAME"]
    assert (known.find("stars:3"), known.find("star")) == (Metric(name="stars:3", source="stars"), None)
    with pytest.raises(KeyError):
        known.of("star")


async def test_a_family_refuses_what_a_project_cannot_use() -> None:
    known = registry(Starred())

    await known.check(ADA, ["rouge_l", "stars:5"], gating=False)
    with pytest.raises(PreconditionFailed, match="more than five"):
        await known.check(ADA, ["rouge_l", "stars:6"], gating=False)


async def test_long_answers_are_scored_beside_the_event_loop_with_the_same_result() -> None:
    assert BOTH.candidate
    long = replace(BOTH, candidate=replace(BOTH.candidate, text="it is 7 " * 1000))

    assert await registry().scores(ADA, ALWAYS, long) == scores_of(ALWAYS, long)
