from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.examples.library import DECLARED, Library, example
from services.inference.tests.fakes import ADA
from tidemill_core.errors import DependencyUnavailable, NotFound, TidemillError
from tidemill_inference.examples.domain.declared import Examples, Selection
from tidemill_inference.examples.domain.errors import ExamplesUnusable, TooManyExampleSets
from tidemill_inference.generation.domain.question import Purpose

ASKED = "how do I reset my vpn password now"
BY_CHANCE = Examples(dataset="helpdesk_sft@3", by=Selection.RANDOM, count=2)
DOWN = DependencyUnavailable("rag is down", dependency="rag")


async def test_the_most_similar_examples_are_chosen_the_most_similar_one_last() -> None:
    library = Library()
    await library.loads()

    chosen = await library.chosen(ASKED)

    assert [each.example.id for each in chosen.examples] == ["e2", "e1"]
    assert chosen.examples[0].similarity < chosen.examples[1].similarity
    assert not chosen.why_not
    assert await library.ids(ASKED, replace(DECLARED, count=1)) == ["e1"]
    assert await library.ids("dogs are what") == []


async def test_until_examples_are_loaded_an_answer_goes_without_and_asks_for_them_once() -> None:
    library = Library()

    chosen = await library.chosen(ASKED)
    await library.chosen(ASKED)

    assert chosen.examples == ()
    assert chosen.why_not.startswith("examples_not_ready: the answer was given no examples of helpdesk_sft@3")
    assert library.enqueued == [library.key()]
    await library.loads()
    assert await library.ids(ASKED) == ["e2", "e1"]


async def test_what_cannot_be_loaded_is_said() -> None:
    library = Library()
    library.versions.gone = True
    await library.loads()

    assert (await library.chosen(ASKED)).why_not.endswith("NOT_FOUND")
    with pytest.raises(ExamplesUnusable, match="helpdesk_sft@3"):
        await library.chosen(ASKED, purpose=Purpose.EVALUATION)


async def test_an_evaluation_waits_for_examples_and_is_not_asked_without() -> None:
    library = Library()

    with pytest.raises(DependencyUnavailable, match="examples_not_ready"):
        await library.chosen(ASKED, purpose=Purpose.EVALUATION)
    await library.loads()
    library.vectors.down = DOWN
    with pytest.raises(DependencyUnavailable, match="examples_not_chosen"):
        await library.chosen(ASKED, purpose=Purpose.EVALUATION)


async def test_where_rag_fails_an_answer_goes_without() -> None:
    library = Library()
    await library.loads()
    library.vectors.down = DOWN

    chosen = await library.chosen(ASKED)

    assert chosen.examples == ()
    assert chosen.why_not.startswith("examples_not_chosen: ")
    library.vectors.down = None
    assert (await library.chosen(ASKED)).why_not.startswith("examples_not_chosen: ")  # it is left alone for a while
    library.choose = replace(library.choose, pause_s=0.0, _paused_until={})
    library.vectors.down = DOWN
    await library.chosen(ASKED)
    library.vectors.down = None
    assert await library.ids(ASKED) == ["e2", "e1"]


@pytest.mark.parametrize("error", [DOWN, NotFound("there is no model large@1")])
async def test_one_model_that_fails_takes_no_examples_from_other_deployments(error: TidemillError) -> None:
    library, broken = Library(), replace(DECLARED, embedding="large@1")
    await library.loads()
    await library.loads(broken)
    library.vectors.down = error

    assert (await library.chosen(ASKED, broken)).why_not.startswith("examples_not_chosen: ")
    library.vectors.down = None

    assert await library.ids(ASKED) == ["e2", "e1"]
    known = await library.ids(ASKED, broken)  # what rag says of the set itself pauses nothing
    assert known == ([] if error is DOWN else ["e2", "e1"])


async def test_a_project_has_no_more_sets_than_it_may_have() -> None:
    library = Library()
    library.choose = replace(library.choose, max_sets=1)
    await library.loads()
    other = replace(DECLARED, dataset="helpdesk_sft@4")

    with pytest.raises(TooManyExampleSets, match=r"helpdesk_sft@4 .* 1 is the limit"):
        await library.choose.request(ADA.project, other)
    assert (await library.chosen(ASKED, other)).why_not.endswith("(TOO_MANY_EXAMPLE_SETS)")
    await library.choose.request("globex", other)
    await library.choose.request(ADA.project, DECLARED)
    assert await library.ids(ASKED) == ["e2", "e1"]


async def test_an_example_is_shown_only_to_who_may_read_what_its_asker_could() -> None:
    secret = example(1, ASKED, principals=("staff", "board"))
    library = Library(secret, example(2, ASKED, principals=("staff",)), example(3, ASKED))
    await library.loads()

    assert await library.ids(ASKED) == ["e3"]
    assert sorted(await library.ids(ASKED, principals=("staff",))) == ["e2", "e3"]
    assert sorted(await library.ids(ASKED, principals=("board", "staff"))) == ["e1", "e2", "e3"]


async def test_by_chance_equal_questions_get_the_same_examples_and_another_seed_others() -> None:
    library = Library(*(example(number, f"question {number}") for number in range(40)))
    await library.loads(BY_CHANCE)

    first = await library.ids(ASKED, BY_CHANCE)

    assert len(first) == 2
    assert await library.ids(ASKED, BY_CHANCE) == first
    others = [await library.ids(ASKED, replace(BY_CHANCE, seed=seed)) for seed in range(1, 9)]
    assert any(each != first for each in others)
    assert library.vectors.puts == 0


async def test_by_chance_examples_of_other_groups_take_no_place() -> None:
    library = Library(*(example(number, "?", principals=("hr",)) for number in range(40)), example(99, "?"))
    await library.loads(BY_CHANCE)

    assert await library.ids(ASKED, BY_CHANCE) == ["e99"]


async def test_another_project_has_no_examples_of_the_first() -> None:
    library = Library()
    await library.loads()

    await library.choose.request("globex", DECLARED)

    assert len(library.sets.kept) == 2
    assert len({each.id for each in library.sets.kept.values()}) == 2


async def test_the_use_of_a_set_is_recorded_once_an_hour() -> None:
    library = Library()
    await library.loads()
    began = library.only_set.used_at

    library.clock.advance(timedelta(minutes=59))
    await library.chosen(ASKED)
    assert library.only_set.used_at == began
    library.clock.advance(timedelta(minutes=2))
    await library.chosen(ASKED)
    assert library.only_set.used_at == began + timedelta(minutes=61)
