from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inference.tests.examples.library import CHECK_EVERY, DECLARED, EXAMPLES, KEPT_FOR, Library, example
from services.inference.tests.fakes import ADA
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_inference.examples.domain.example_set import Example, SetState
from tidemill_inference.examples.ports import Chosen, TrainPart
from tidemill_testkit.clocks import NOON

ASKED = "how do I reset my vpn password now"


def stored(library: Library) -> set[str]:
    return {name for _, _, name in library.examples.rows}


async def test_a_set_is_ready_once_all_of_its_questions_are_embedded() -> None:
    library = Library(*(example(number, f"question {number}") for number in range(250)))
    await library.choose.request(ADA.project, DECLARED)

    first = await library.load(library.key(), 1)

    assert first is not None
    assert library.only_set.state == SetState.LOADING
    await library.loads()
    assert library.state == SetState.READY
    assert (len(library.vectors.kept), library.versions.reads) == (250, 1)
    assert library.only_set.check_at == NOON + CHECK_EVERY


async def test_loading_goes_on_where_it_ended_and_embeds_nothing_twice() -> None:
    library = Library(*(example(number, f"question {number}") for number in range(150)))
    await library.choose.request(ADA.project, DECLARED)
    await library.load(library.key(), 1)
    library.vectors.down = DependencyUnavailable("rag is down", dependency="rag")
    with pytest.raises(DependencyUnavailable):
        await library.load(library.key(), 2)
    library.vectors.down = None

    await library.loads()

    assert (library.vectors.puts, library.versions.reads) == (150, 1)
    assert library.state is SetState.READY


async def test_a_question_that_cannot_be_embedded_is_tried_once() -> None:
    library = Library()
    library.vectors.cannot_embed = frozenset({"e1"})
    await library.loads()
    library.clock.advance(CHECK_EVERY)

    await library.loads()

    assert library.vectors.puts == len(EXAMPLES)
    assert library.state is SetState.READY


async def test_vectors_are_renewed_halfway_to_their_end() -> None:
    library = Library()
    await library.loads()

    library.clock.advance(KEPT_FOR / 2 - timedelta(days=11))
    await library.chosen(ASKED)
    await library.loads()
    assert library.vectors.puts == 3
    for _ in range(2):
        library.clock.advance(timedelta(days=6))
        await library.chosen(ASKED)
        await library.loads()
    assert library.vectors.puts == 6


async def test_a_vector_whose_end_is_not_known_is_not_renewed_again_and_again() -> None:
    library = Library()

    async def without_end(*_: object, **__: object) -> datetime:
        return datetime.fromtimestamp(0, UTC)  # as a rag of an earlier release says it

    library.vectors.put = without_end  # type: ignore[method-assign]
    await library.loads()

    assert {row.renew_at for row in library.examples.rows.values()} == {NOON + timedelta(hours=1)}


async def test_what_ingest_erased_is_shown_no_more_once_its_part_is_another_one() -> None:
    library = Library()
    await library.loads()
    library.versions.part, library.versions.examples = "acme/helpdesk_sft/two", EXAMPLES[1:]

    await library.loads()

    assert stored(library) == {"e2", "e3"}
    assert len(library.vectors.kept) == 2
    assert await library.ids(ASKED) == ["e2"]
    assert library.vectors.puts == 3


async def test_what_a_late_worker_stored_of_an_earlier_part_is_not_shown_and_removed() -> None:
    library = Library()
    library.versions.part, library.versions.examples = "acme/helpdesk_sft/two", EXAMPLES[1:]
    await library.loads()
    await library.examples.put(library.only_set, EXAMPLES[:1], part="acme/helpdesk_sft/one")
    await library.vectors.put(ADA, library.only_set, EXAMPLES[0], expire_time=NOON)

    assert await library.ids(ASKED) == ["e2"]
    await library.loads()
    assert stored(library) == {"e2", "e3"}
    assert len(library.vectors.kept) == 2


async def test_what_a_late_worker_stored_in_the_place_of_examples_is_read_again() -> None:
    library = Library()
    library.versions.part, library.versions.examples = "acme/helpdesk_sft/two", EXAMPLES[:2]
    await library.loads()
    await library.examples.put(library.only_set, EXAMPLES, part="acme/helpdesk_sft/one")

    await library.loads()
    assert (stored(library), library.state) == ({"e1", "e2"}, SetState.READY)
    assert await library.ids(ASKED) == ["e2", "e1"]
    reads = library.versions.reads
    await library.loads()
    assert library.versions.reads == reads


async def test_a_part_that_is_replaced_while_it_is_read_is_no_deleted_version() -> None:
    library = Library()
    await library.loads()
    library.versions.part, read = "acme/helpdesk_sft/two", library.versions.read

    async def replaced(part: TrainPart) -> Sequence[Example]:
        message = f"there is no object {part.content.key}"
        raise NotFound(message)

    library.versions.read = replaced  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable, match=r"helpdesk_sft@3 was replaced"):
        await library.load(library.key(), 1)
    assert (len(stored(library)), library.state) == (3, SetState.READY)
    assert await library.ids(ASKED) == ["e2", "e1"]

    library.versions.read = read  # type: ignore[method-assign]
    await library.loads()
    assert (library.only_set.part, library.vectors.puts) == ("acme/helpdesk_sft/two", 3)


async def test_a_question_while_an_unused_set_is_removed_is_warned_that_examples_are_not_ready() -> None:
    library = Library()
    await library.loads()
    remove, asked = library.vectors.remove, list[Chosen]()

    async def asking(caller: Caller, text_ids: Sequence[str]) -> None:
        await remove(caller, text_ids)
        asked.append(await library.chosen(ASKED))

    library.vectors.remove = asking  # type: ignore[method-assign]
    library.clock.advance(timedelta(days=8))
    await library.load(library.key(), 1)

    assert [each.why_not.partition(":")[0] for each in asked] == ["examples_not_ready"]


async def test_what_was_erased_before_it_is_read_is_not_kept() -> None:
    library = Library()
    library.people.until = {"cleo": NOON}
    library.documents.until = {"d9": NOON}
    library.versions.examples = (*EXAMPLES, example(4, "a", documents=("d9",)), example(5, "b", author="cleo"))
    later = replace(example(6, "c", author="cleo"), observed_at=NOON + timedelta(seconds=1))
    library.versions.examples = (*library.versions.examples, later)

    await library.loads()

    assert stored(library) == {"e1", "e2", "e6"}


async def test_an_example_that_is_erased_while_it_is_embedded_leaves_no_vector() -> None:
    library = Library(EXAMPLES[2])
    put = library.vectors.put

    async def erased_meanwhile(caller, of, example, *, expire_time):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        until = await put(caller, of, example, expire_time=expire_time)
        await library.examples.remove(of.project, of.id, [example.id])
        return until

    library.vectors.put = erased_meanwhile  # type: ignore[method-assign]
    await library.loads()

    assert (stored(library), library.vectors.kept) == (set(), {})


async def test_a_person_s_examples_go_whether_they_asked_or_wrote_and_with_their_vectors() -> None:
    library = Library()
    await library.loads()

    assert await library.erase.of_end_user(ADA.project, "cleo") == 1
    assert stored(library) == {"e1", "e2"}
    assert await library.erase.of_end_user("globex", "bob") == 0
    assert await library.erase.of_end_user(ADA.project, "bob") == 2
    assert await library.erase.of_end_user(ADA.project, "bob") == 0
    assert library.vectors.kept == {}


async def test_examples_go_with_the_document_that_their_answer_rests_on() -> None:
    library = Library()
    await library.loads()

    assert await library.erase.of_document(ADA.project, "d1") == 1
    assert stored(library) == {"e1", "e2"}


async def test_examples_go_with_their_dataset_and_come_again_where_it_does() -> None:
    library = Library()
    await library.loads()
    library.versions.gone = True

    await library.loads()
    assert (stored(library), library.vectors.kept, library.state) == (set(), {}, SetState.FAILED)

    library.versions.gone = False
    await library.loads()
    assert (len(stored(library)), library.state) == (3, SetState.READY)


async def test_a_model_that_is_gone_fails_the_set_and_its_examples_are_not_read_again() -> None:
    library = Library()
    library.vectors.down = NotFound("there is no model minilm@1")

    for _ in range(3):
        await library.loads()
    assert (library.state, library.only_set.why, library.versions.reads) == (SetState.FAILED, "NOT_FOUND", 1)

    library.vectors.down = None
    await library.loads()
    assert (library.state, library.versions.reads) == (SetState.READY, 1)


async def test_a_set_without_questions_is_removed_and_one_in_use_is_not() -> None:
    library = Library()
    await library.loads()
    library.clock.advance(timedelta(days=6))
    await library.chosen(ASKED)
    library.clock.advance(timedelta(days=6))
    await library.load(library.key(), 1)
    assert library.state is SetState.READY

    library.clock.advance(timedelta(days=2))
    await library.load(library.key(), 1)

    assert (library.sets.kept, library.examples.rows, library.vectors.kept) == ({}, {}, {})
    assert await library.load(library.key(), 1) is None
