import math
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, HANDBOOK, AnsweringHarness, asking, helpdesk
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval, Sampling
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.question import Question

TURNS = (
    "How often is the glimmer valve serviced?",
    "Twice a year.",
    "And what is it made of?",
)


def conversation(*turns: str) -> Question:
    roles = [Role.USER, Role.ASSISTANT]
    messages = tuple(Message.of(roles[number % 2], turn) for number, turn in enumerate(turns))
    return Question(deployment="helpdesk", messages=messages)


def passage(document: str, score: float) -> Passage:
    return Passage(id="1", document=document, version=1, start=0, end=5, score=score, text=f"{document} is a tree.")


def retrieving(**changes: object) -> AnsweringHarness:
    retrieval = replace(Retrieval(collection="handbook", top_k=2), **changes)  # type: ignore[arg-type]
    return AnsweringHarness(deployment=helpdesk(retrieval=retrieval))


async def test_a_follow_up_is_searched_alone_and_with_the_users_turns_before_it() -> None:
    harness = retrieving()

    await harness.answer.whole(ADA, conversation(*TURNS), request=asking("r1"))

    assert [query for query, _ in harness.rag.asked] == [
        "And what is it made of?",
        "And what is it made of?\nHow often is the glimmer valve serviced?",
    ]


async def test_the_best_passages_of_both_searches_come_in_turn_and_none_twice() -> None:
    harness = retrieving()
    old, new, both = passage("glimmer", 0.7), passage("torvo", 0.3), passage("sep", 0.2)
    harness.rag.found = {False: (new, both), True: (old, both)}

    answer = await harness.answer.whole(ADA, conversation(*TURNS), request=asking("r1"))

    assert [(each.id, each.document) for each in answer.passages] == [("1", "torvo"), ("2", "glimmer")]


async def test_a_text_that_both_searches_find_in_different_documents_has_one_place_and_names_both() -> None:
    harness = retrieving()
    wiki, other = passage("wiki", 0.7), passage("council", 0.3)
    intranet = replace(wiki, document="intranet", source="cms", key="leave", text="wiki  is a\ntree.")
    harness.rag.found = {False: (wiki,), True: (intranet, other)}

    answer = await harness.answer.whole(ADA, conversation(*TURNS), request=asking("r1"))

    assert [(each.document, each.also_in) for each in answer.passages] == [("wiki", ("cms/leave",)), ("council", ())]


async def test_the_first_question_is_searched_once() -> None:
    harness = retrieving()

    await harness.answer.whole(ADA, conversation(TURNS[0]), request=asking("r1"))

    assert [query for query, _ in harness.rag.asked] == [TURNS[0]]


def test_earlier_turns_are_bounded_in_number_and_length() -> None:
    question = conversation("first", "a", "second " * 1000, "b", "third")

    assert question.queries(1) == ("third",)
    assert question.queries(2)[1] == "third\n" + ("second " * 1000)[:1000]
    assert question.queries(10)[1].endswith("\nfirst")


async def test_an_answer_without_any_passage_says_so() -> None:
    harness = retrieving()
    harness.rag.passages = ()

    answer = await harness.answer.whole(ADA, conversation(TURNS[0]), request=asking("r1"))

    assert answer.warnings == ("no passage was found in collection handbook: the answer rests on none",)
    assert (answer.citation_valid, answer.passages) == (None, ())


async def test_passages_below_the_least_score_are_left_out_and_an_answer_without_any_says_so() -> None:
    harness = retrieving(min_score=0.6)
    some = await harness.answer.whole(ADA, conversation(TURNS[0]), request=asking("r1"))
    harness.rag.passages = HANDBOOK[1:]
    none = await harness.answer.whole(ADA, conversation(TURNS[0]), request=asking("r2"))

    assert ([each.document for each in some.passages], some.warnings) == (["d1"], ())
    assert none.passages == ()
    [warning] = none.warnings
    assert warning.startswith("no passage is relevant: the best one in collection handbook has score 0.500, below ")
    assert warning.endswith("min_score 0.6: the answer rests on none")


@pytest.mark.parametrize(("name", "value"), [("min_score", -0.1), ("min_score", math.nan), ("query_turns", 11)])
def test_what_is_out_of_bounds_is_refused_by_name(name: str, value: float) -> None:
    retrieval = replace(Retrieval(collection="handbook"), **{name: value})  # type: ignore[arg-type]

    assert [each.field for each in retrieval.violations("retrieval")] == [f"retrieval.{name}"]


def test_a_configuration_keeps_its_digest_when_a_field_is_added_to_all() -> None:
    retrieval = Retrieval(collection="handbook", top_k=2, metadata_filter={"product": "vpn"})
    old = Configuration.of(model="m@1", prompt="p@1", retrieval=retrieval, sampling=Sampling(temperature=0.0))

    assert old.digest == "56049e8a87d6647a210be56f15db9676a68cbcf9c2ad0d467ede26062e0b0314"
    assert old.with_answer(retrieval=replace(retrieval, min_score=0.3)).digest != old.digest
