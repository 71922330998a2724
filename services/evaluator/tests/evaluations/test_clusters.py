"""Cases that depend on one another are one observation."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, gate_of, write
from services.evaluator.tests.harness import HELD_OUT, LITTLE, Evaluator, ready, registry
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.evaluations.domain.clusters import (
    Traits,
    answered_of,
    averages,
    clusters_of,
    components,
    numbered,
)
from tidemill_evaluator.evaluations.domain.comparison import Asked, Comparison, Evidence, Interval, compared, impossible
from tidemill_evaluator.evaluations.domain.power import Bound, Counted, Power, RequirementPower
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.evaluations.domain.slices import slices_of
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites.domain.cases import VARIANT_OF, Case, CaseSet, DocumentVersion, Judgement

TRUTH = CaseSet(suite="truth", number=3, size=3, content=ObjectRef(bucket="b", key="acme/x/y", size=1, sha256=""))


def result(case: str, difference: float | None, *, baseline: float = 0.25) -> CaseResult:
    """Return a result; without a difference the candidate failed."""
    lost = difference is None
    candidate = {} if difference is None else {"rouge_l": baseline + difference}
    return CaseResult(
        case_set=TRUTH.name,
        case=case,
        baseline=CaseAnswer(scores={"rouge_l": baseline}),
        candidate=CaseAnswer(failure="INTERNAL" if lost else "", scores=candidate),
    )


def compared_of(given: Sequence[CaseResult], clusters: Sequence[tuple[str, int]], *, low: float = 0.05) -> Comparison:
    """Compare results, of each of which the question and the cluster is given."""
    asked = Asked(case_set=TRUTH.name, metric="rouge_l", requirement=Requirement(suite="truth", metric="rouge_l"))
    traits = {
        (TRUTH.name, each.case): Traits(question=question, cluster=cluster)
        for each, (question, cluster) in zip(given, clusters, strict=True)
    }
    evidence = Evidence(min_questions=2, max_unanswered=0.6)
    return compared(asked, given, clusters_of(given, traits, "rouge_l"), Interval(low=low, high=0.6), evidence=evidence)


def test_what_shares_anything_is_one_also_by_way_of_others() -> None:
    assert components(["ab", "c", "bd", "e", "de", ""]) == [0, 1, 0, 0, 0, 2]
    assert components([]) == []


def test_a_long_chain_is_one() -> None:
    assert set(components([(number, number + 1) for number in reversed(range(5000))])) == {0}


CASES = [
    Case(id="a", question="What is tar?", reference="x", end_user="ada", labels={"topic": "files"}),
    Case(id="b", question="What is zip?", reference="x", end_user="ada"),
    Case(id="c", question="what is TAR", reference="x", end_user="bob", rests_on=(DocumentVersion("d", 1),)),
    Case(id="d", question="What is awk?", reference="x", rests_on=(DocumentVersion("d", 2), DocumentVersion("e", 1))),
    Case(id="e", question="What is sed?", reference="x", labels={"topic": "files"}),
    Case(id="f", question="What is cut?", reference="", judgements=(Judgement(document="e", grade=1),)),
]


@pytest.mark.parametrize(
    ("cluster_by", "clusters"),
    [
        (["question"], [0, 1, 0, 2, 3, 4]),
        (["end_user"], [0, 0, 0, 1, 2, 3]),
        (["document"], [0, 1, 0, 0, 2, 0]),
        (["labels.topic"], [0, 1, 0, 2, 0, 3]),
        (["end_user", "document"], [0, 0, 0, 0, 1, 0]),
    ],
)
def test_cases_of_one_question_user_document_or_label_are_a_cluster(cluster_by: list[str], clusters: list[int]) -> None:
    found = numbered(CASES, cluster_by)

    assert [found[case.id].cluster for case in CASES] == clusters
    assert [found[case.id].question for case in CASES] == ["0", "1", "0", "2", "3", "4"]


def test_a_document_of_another_project_is_another_one() -> None:
    own, shared = DocumentVersion("d", 1), DocumentVersion("d", 1, "globex/handbook")
    cases = [Case(id=str(n), question=str(n), reference="x", rests_on=(each,)) for n, each in enumerate([own, shared])]

    assert len({each.cluster for each in numbered(cases, ["document"]).values()}) == 2


def test_a_case_and_its_variants_are_one_observation_and_no_slice() -> None:
    variants = [Case(id=name, question=f"{name}?", reference="x", labels={VARIANT_OF: "c1"}) for name in ("v1", "v2")]
    cases = [*(Case(id=name, question=f"{name}?", reference="x") for name in ("c1", "c2")), *variants]

    assert [each.cluster for each in numbered(cases, []).values()] == [0, 1, 0, 0]
    assert {name for values in slices_of(cases, held_out=False).values() for name in values} == set()


def test_repeats_of_a_question_count_once_and_so_do_the_questions_of_a_cluster() -> None:
    given = [result("1", 0.6), result("2", 0.6), result("3", 0.0), result("4", -0.4)]
    clusters = [("tar", 0), ("tar", 0), ("zip", 0), ("awk", 1)]

    found = compared_of(given, clusters)

    assert (found.cases, found.clusters) == (3, 2)
    assert (found.baseline, found.candidate, found.difference) == pytest.approx((0.25, 0.2, -0.05))


def test_what_the_candidate_lost_counts_in_its_cluster() -> None:
    given = [result("1", 0.5), result("2", None), result("3", 0.5), result("4", None)]

    apart = compared_of(given, [("1", 0), ("2", 1), ("3", 2), ("4", 3)], low=0.2)
    together = compared_of(given, [("1", 0), ("2", 0), ("3", 1), ("4", 2)], low=0.2)

    assert apart.note.startswith("the lower bound with the 2 cases that the candidate failed is -0.0250")
    # the first cluster falls from 0.5 to (0.5 - 0.25) / 2, and the third one is lost: (0.2 * 2 - 0.375 - 0.25) / 3
    assert together.note.startswith("the lower bound with the 2 cases that the candidate failed is -0.0750")


def test_a_lost_case_never_helps_in_a_cluster_where_the_others_lost_more() -> None:
    given = [result("1", -0.25), result("2", None, baseline=0.0), result("3", 0.5)]

    assert compared_of(given, [("1", 0), ("2", 0), ("3", 1)], low=0.05).holds


async def judged_by_time(clusters: int) -> Comparison:
    """Judge a candidate that is half a second faster in each of 40 questions, which are in so many clusters."""
    metric = "latency_s"
    asked = Asked.by(registry().of(metric), TRUTH.name, Requirement(suite="truth", metric=metric))
    given = [
        CaseResult(
            case_set=TRUTH.name,
            case=str(number),
            baseline=CaseAnswer(scores={metric: 2.5}),
            candidate=CaseAnswer(scores={metric: 2.0}),
        )
        for number in range(40)
    ]
    traits = {
        (TRUTH.name, each.case): Traits(question=each.case, cluster=number % clusters)
        for number, each in enumerate(given)
    }
    found = clusters_of(given, traits, metric)
    differences = averages(answered_of(found), asked.gain)
    interval = await BettingIntervals().of_mean(differences, confidence=0.95, bounded=asked.bounded)
    return compared(asked, given, found, interval, evidence=Evidence())


@pytest.mark.parametrize("clusters", [1, 2, 6])
async def test_questions_of_few_people_show_no_gain_of_time(clusters: int) -> None:
    found = await judged_by_time(clusters)

    assert (found.cases, found.clusters, found.holds) == (40, clusters, False)
    assert f"40 questions are in {clusters} clusters" in found.note
    assert found.note.endswith("latency_s has no bounds and needs at least 7: add cases of others")


async def test_those_of_seven_do() -> None:
    assert (await judged_by_time(7)).holds


def test_what_would_do_is_said_in_clusters_where_questions_share_one() -> None:
    assert "60 questions in 12 clusters cannot show" in impossible(12, 15, questions=60)
    assert "15 clusters like them could: add cases of others" in impossible(12, 15, questions=60)
    assert "and 11 like them could: add cases (on new ones" in impossible(10, 11, questions=10)


def test_the_power_of_a_gate_names_the_clusters_that_it_lacks() -> None:
    bound = Bound(above=0.0, confidence=0.95, clusters=1)
    power = Power(of_gain=0.0, detectable_gain=None, needed=132, deviation=0.3)

    one = Counted(questions=60, clusters=1)
    found = RequirementPower.of(Requirement(suite="truth", metric="rouge_l"), 0.1)

    assert (
        "it needs 132 clusters, and there are 1" in found.stated(one, bound, power, minimum=10, evaluation="").message
    )
    alone = found.stated(replace(one, clusters=60), bound, power, minimum=10, evaluation="")
    assert alone.message == ""


def test_what_neither_side_answered_is_in_no_cluster() -> None:
    silent = CaseResult(
        case_set=TRUTH.name, case="1", baseline=CaseAnswer(failure="X"), candidate=CaseAnswer(failure="X")
    )
    traits = {(TRUTH.name, "1"): Traits(question="1", cluster=0), (TRUTH.name, "2"): Traits(question="2", cluster=1)}

    clusters = clusters_of([silent, result("2", 0.5)], traits, "rouge_l")

    assert averages(answered_of(clusters), lambda each: each.difference("rouge_l")) == [0.5]
    assert len(clusters) == 1


async def test_all_held_out_questions_of_a_user_are_one_observation() -> None:
    evaluator = await ready()

    done = await evaluator.finish()

    assert [(each.case_set, each.cases, each.clusters) for each in done.comparisons if each.required] == [
        ("dataset:sft@2:held_out", 3, 1),
        ("suite:truth@1", 3, 3),
    ]
    held_out, truth = await evaluator.estimate_power(ADA, "gate")
    assert [(each.questions, each.clusters) for each in (held_out, truth)] == [(3, 1), (3, 3)]


async def test_a_gate_may_leave_questions_of_a_user_apart() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    await evaluator.with_held_out()
    gate = gate_of(HELD_OUT)
    gate.cluster_by = ("question",)
    await evaluator.gate_crud.create(ADA, gate, write())
    await evaluator.register()

    done = await evaluator.finish()

    assert [each.clusters for each in done.comparisons if each.required] == [3]


@pytest.mark.parametrize(
    ("names", "where"),
    [
        (
            ["user"],
            "gate.cluster_by[0]: is 'user': use end_user, document or labels.NAME, or question for none of them",
        ),
        (["labels."], "gate.cluster_by[0]: is 'labels.'"),
        (["labels." + "x" * 1000], "gate.cluster_by[0]: has 1000 characters after 'labels.'"),
        (["end_user", "end_user"], "gate.cluster_by[1]: is end_user, which is named already"),
        ([f"labels.{n}" for n in range(6)], "gate.cluster_by: has 6 entries; the limit is 5"),
    ],
)
async def test_what_cases_cannot_depend_by_is_refused_by_name(names: list[str], where: str) -> None:
    evaluator, gate = Evaluator(), gate_of()
    gate.cluster_by = tuple(names)

    with pytest.raises(InvalidInput) as refused:
        await evaluator.gate_crud.create(ADA, gate, write())

    assert where in str([f"{each.field}: {each.description}" for each in refused.value.violations])
