"""A question is searched with other wordings of it, and what they find is one ranking."""

from dataclasses import dataclass, field, replace

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, asking
from services.inference.tests.generation.test_retrieve import TURNS, conversation, passage
from services.inference.tests.generation.test_rewrite import BOTH, SLOW, Asked, rewriting, searched
from tidemill.inference.v1 import configuration_pb2, deployment_pb2
from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval, Sampling
from tidemill_inference.deployments.messages import configuration_message, spec_of
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.ports import Found

WRITTEN = '1. What is a glimmer valve made of?\n\n- "Which material is it of?"\nWhich material is it of?\n(3) One more?'
VARIANTS = ["What is a glimmer valve made of?", "Which material is it of?"]


async def test_a_first_question_is_searched_as_it_is_and_in_other_words() -> None:
    asked = Asked(says=WRITTEN)

    queries, warnings = await searched(rewriting(asked, query_variants=2), conversation(TURNS[0]))

    assert (queries, warnings) == ([TURNS[0], *VARIANTS], ())
    assert asked.prompts == [f"User: {TURNS[0]}"]


async def test_with_turns_before_it_the_first_line_stands_for_the_last_message_in_one_call() -> None:
    asked = Asked(says=WRITTEN)

    queries, _ = await searched(rewriting(asked, query_variants=2), conversation(*TURNS))

    assert queries == [VARIANTS[0], BOTH[1], VARIANTS[1], "One more?"]
    assert len(asked.prompts) == 1


@pytest.mark.parametrize("asked", [Asked(fails=SLOW), Asked(says="\n1. \n")])
async def test_where_there_are_none_the_question_is_searched_with_and_the_answer_says_so(asked: Asked) -> None:
    queries, warnings = await searched(rewriting(asked, query_variants=2), conversation(TURNS[0]))

    assert queries == [TURNS[0]]
    assert "was not rewritten for the search: model small@1" in warnings[0]


@dataclass
class ByQuery:
    """Implements `Retriever`: passages of each query."""

    found: dict[str, tuple[Passage, ...]]
    asked: list[str] = field(default_factory=list)

    async def check(self, caller: Caller, retrieval: Retrieval) -> None:
        assert (caller, retrieval.collection) == (ADA, "handbook")

    async def search(self, caller: Caller, retrieval: Retrieval, *, question: str, **_: object) -> Found:
        assert (caller, retrieval.collection) == (ADA, "handbook")
        self.asked.append(question)
        return Found(passages=self.found.get(question, ()), index=1)


async def test_what_several_wordings_find_comes_first_with_its_best_score() -> None:
    harness: AnsweringHarness = rewriting(Asked(says=WRITTEN), query_variants=2, min_score=0.4)
    by_question, shared = passage("own", 0.5), passage("shared", 0.3)
    rag = ByQuery(
        {
            TURNS[0]: (by_question, shared),
            VARIANTS[0]: (passage("other", 0.6), replace(shared, score=0.7)),
            VARIANTS[1]: (replace(shared, score=0.6), passage("poor", 0.1)),
        }
    )
    harness.answer = replace(harness.answer, make=replace(harness.answer.make, retriever=rag))

    answer = await harness.answer.whole(ADA, conversation(TURNS[0]), request=asking("r1"))

    assert [(each.document, each.score) for each in answer.passages] == [("shared", 0.7), ("own", 0.5), ("other", 0.6)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"query_variants": 6, "rewrite": "small@1"}, "query_variants"),
        ({"query_variants": 1}, "query_variants"),
        ({"other_collections": ("handbook",)}, "other_collections"),
        ({"other_collections": ("faq", "faq")}, "other_collections"),
        ({"other_collections": tuple(f"c{number}" for number in range(10))}, "other_collections"),
    ],
)
def test_variants_without_a_model_and_collections_twice_are_refused_by_name(
    changes: dict[str, object], named: str
) -> None:
    retrieval = replace(Retrieval(collection="handbook"), **changes)  # type: ignore[arg-type]

    assert [each.field for each in retrieval.violations("retrieval")] == [f"retrieval.{named}"]


def test_collections_and_variants_come_from_the_request_and_go_into_the_reply() -> None:
    retrieval = configuration_pb2.Retrieval(
        collection="handbook", other_collections=["faq"], rewrite="small", query_variants=2
    )

    spec = spec_of(deployment_pb2.Deployment(id="helpdesk", model="m", prompt="p", retrieval=retrieval))

    assert spec.retrieval is not None
    assert (spec.retrieval.other_collections, spec.retrieval.query_variants) == (("faq",), 2)
    shown = configuration_message(
        Configuration.of(model="m@1", prompt="p@1", retrieval=spec.retrieval, sampling=Sampling())
    )
    assert (list(shown.retrieval.other_collections), shown.retrieval.query_variants) == (["faq"], 2)


def test_a_retrieval_names_its_collections() -> None:
    retrieval = Retrieval(collection="handbook", other_collections=("acme/faq",))

    assert retrieval.named == "collections handbook, acme/faq"
    assert Retrieval(collection="handbook").named == "collection handbook"
