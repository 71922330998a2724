from dataclasses import replace

import pytest

from services.inference.tests.deployments.test_crud import SPEC, Office
from services.inference.tests.examples.library import DECLARED, Library
from services.inference.tests.fakes import ADA, Registry, writing
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.examples.domain.declared import Examples, Selection
from tidemill_inference.examples.domain.errors import ExamplesNotApproved, TooManyExamples
from tidemill_inference.examples.resolve import ResolveExamples


def resolving(library: Library, *, max_examples: int = 3) -> ResolveExamples:
    return ResolveExamples(
        versions=library.versions, models=Registry(minilm=1), vectors=library.vectors, max_examples=max_examples
    )


@pytest.mark.parametrize("dataset", ["helpdesk_sft", "helpdesk_sft@latest", "helpdesk_sft@3"])
async def test_dataset_and_model_are_resolved_to_one_version_each(dataset: str) -> None:
    resolved = await resolving(Library())(ADA, replace(DECLARED, dataset=dataset, embedding="minilm"))

    assert resolved == DECLARED


async def test_examples_by_chance_need_no_model() -> None:
    by_chance = Examples(dataset="helpdesk_sft", by=Selection.RANDOM)

    assert (await resolving(Library())(ADA, by_chance)).embedding == ""


async def test_what_is_not_there_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidInput, match=r"examples.dataset: is other: there is no dataset version other"):
        await resolving(Library())(ADA, replace(DECLARED, dataset="other"))
    with pytest.raises(ReferenceNotFound, match=r"examples.embedding: 'large'"):
        await resolving(Library())(ADA, replace(DECLARED, embedding="large"))


async def test_a_version_that_people_still_have_to_approve_is_refused() -> None:
    library = Library()
    library.versions.missing_approvals = 2

    with pytest.raises(ExamplesNotApproved, match="helpdesk_sft@3 needs 2 more approvals"):
        await resolving(library)(ADA, DECLARED)


async def test_a_version_with_too_many_examples_is_refused_with_the_limit() -> None:
    with pytest.raises(TooManyExamples, match=r"has 3 examples to choose from, and 2 is the limit"):
        await resolving(Library(), max_examples=2)(ADA, DECLARED)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": 9}, "count"),
        ({"count": -1}, "count"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"min_similarity": 1.5}, "min_similarity"),
        ({"embedding": ""}, "embedding"),
        ({"by": Selection.RANDOM}, "embedding"),
        ({"dataset": "globex/helpdesk_sft"}, "dataset"),
        ({"dataset": "helpdesk_sft@best"}, "dataset"),
        ({"dataset": ""}, "dataset"),
    ],
)
def test_what_is_out_of_bounds_is_named(changes: dict[str, object], field: str) -> None:
    wrong = replace(DECLARED, **changes)  # type: ignore[arg-type]

    assert [each.field for each in wrong.violations("examples")] == [f"examples.{field}"]
    assert DECLARED.violations("examples") == []


async def test_examples_are_resolved_and_begin_to_load_with_the_deployment_that_shows_them() -> None:
    office, library = Office(), Library()
    resolve = ResolveExamples(
        versions=library.versions, models=Registry(minilm=1), vectors=library.vectors, max_examples=9
    )
    office.crud = replace(office.crud, examples=library.choose, resolve=replace(office.crud.resolve, examples=resolve))
    declared = Examples(dataset="helpdesk_sft", embedding="minilm")
    spec = replace(SPEC, examples=declared)

    await office.crud.create(ADA, "checked", spec, labels={}, write=writing("check", validate_only=True))
    assert library.enqueued == []
    made = await office.crud.create(ADA, "helpdesk", spec, labels={}, write=writing("new"))

    assert (made.live.examples, made.spec.examples) == (replace(DECLARED, min_similarity=0.3), spec.examples)
    assert len(library.enqueued) == 1
    stored = await office.deployments.get(ADA.project, "helpdesk")
    assert stored.live == made.live

    library.choose = replace(library.choose, max_sets=0)
    office.crud = replace(office.crud, examples=library.choose)
    library.sets.kept.clear()
    paused = await office.crud.update(ADA, "helpdesk", rollouts_paused=True, write=writing("pause"))
    assert (paused.rollouts_paused, len(library.enqueued)) == (True, 1)
    fewer = replace(spec, examples=replace(declared, seed=1))
    changed = await office.crud.update(ADA, "helpdesk", change=lambda _: fewer, write=writing("seed"))
    assert changed.live.examples == replace(DECLARED, min_similarity=0.3, seed=1)  # stored, so it is no failure
