from collections.abc import Callable
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BUCKET, cases, write
from services.evaluator.tests.fakes import ProcessesHere, R
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import Caller
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput
from tidemill_evaluator.errors import SuiteInUse, SuiteNotFound
from tidemill_evaluator.suites.domain.cases import Case, Judgement
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.schemas import BoundedSchemas
from tidemill_kit.workers.bounded_processes import WorkEndedError

TRUTH = Suite(id="truth", project="acme")


async def update(evaluator: Evaluator, new: list[Case], *, etag: str = "", validate_only: bool = False) -> Suite:
    asked = write(etag=etag, validate_only=validate_only)
    return await evaluator.suite_crud.update(ADA, TRUTH, new, frozenset({"cases"}), asked)


async def delete(evaluator: Evaluator, *, etag: str = "") -> None:
    await evaluator.suite_crud.delete(ADA, "truth", write(etag=etag))


async def test_the_cases_are_read_as_they_were_given() -> None:
    evaluator = Evaluator()
    labelled = [Case(id="c1", question="qu\u00e9\u2028?", reference="a\nb", labels={"area": "math"}), *cases(3)[1:]]

    await evaluator.suite_crud.create(ADA, TRUTH, labelled, write())

    suite, read = await evaluator.suite_crud.get(ADA, "truth")
    assert list(read) == labelled
    assert (suite.number, suite.size) == (1, 3)


async def test_changed_cases_make_the_next_version_and_the_same_cases_none() -> None:
    evaluator = Evaluator()
    first = await evaluator.with_suite()

    same = await update(evaluator, list(reversed(cases(3))))
    other = await update(evaluator, cases(4))

    assert (first.number, same.number, other.number) == (1, 1, 2)
    assert other.digest != first.digest
    assert len(evaluator.objects.buckets[BUCKET]) >= 2  # the version before stays readable
    assert list(await evaluator.cases.read("acme", first.case_set)) == cases(3)


async def test_a_deleted_suite_whose_name_is_taken_up_again_counts_on() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await delete(evaluator)
    with pytest.raises(SuiteNotFound):
        await evaluator.suite_crud.get(ADA, "truth")

    assert (await evaluator.with_suite()).number == 2


async def test_the_same_request_again_creates_nothing_and_the_id_is_taken_for_others() -> None:
    evaluator = Evaluator()

    first, again = [await evaluator.suite_crud.create(ADA, TRUTH, cases(3), write("r1")) for _ in range(2)]

    assert first == again
    with pytest.raises(AlreadyExists):
        await evaluator.with_suite()


async def test_validating_stores_nothing() -> None:
    evaluator = Evaluator()

    assert (await evaluator.suite_crud.create(ADA, TRUTH, cases(3), write(validate_only=True))).number == 1
    assert evaluator.objects.buckets[BUCKET] == {}
    await evaluator.with_suite()
    with pytest.raises(AlreadyExists):
        await evaluator.suite_crud.create(ADA, TRUTH, cases(3), write(validate_only=True))
    assert (await update(evaluator, cases(4), validate_only=True)).number == 2
    assert (await evaluator.suite_crud.get(ADA, "truth"))[0].number == 1


async def test_cases_that_cannot_be_asked_are_stored_nowhere() -> None:
    evaluator = Evaluator()

    with pytest.raises(InvalidInput):
        await evaluator.suite_crud.create(ADA, TRUTH, [], write())

    assert evaluator.objects.buckets[BUCKET] == {}


async def test_a_suite_that_a_gate_requires_stays() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(name="release")

    with pytest.raises(SuiteInUse, match="release"):
        await delete(evaluator)


async def test_a_deletion_that_is_repeated_is_answered_as_the_first_one() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()

    first, again = [await evaluator.suite_crud.delete(ADA, "truth", write("d1")) for _ in range(2)]

    assert first == again
    with pytest.raises(SuiteNotFound):
        await delete(evaluator)


async def test_a_change_that_was_decided_on_an_older_suite_is_refused() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await update(evaluator, cases(4))

    with pytest.raises(Conflict):
        await update(evaluator, cases(5), etag="1")
    with pytest.raises(Conflict):
        await delete(evaluator, etag="1")


async def test_suites_of_projects_are_apart() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    theirs = Suite(id="truth", project="globex")

    assert (await evaluator.suite_crud.create(Caller(project="globex"), theirs, cases(1), write())).number == 1
    assert (await evaluator.suite_crud.get(ADA, "truth"))[0].size == 3


async def test_judged_questions_are_counted_and_are_no_evidence_of_answers() -> None:
    evaluator = Evaluator()
    judged = Case(id="q1", question="where?", reference="", judgements=(Judgement(document="d1", grade=2),))
    unjudged = Case(id="q2", question="when?", reference="now", judgements=(Judgement(document="d1"),))
    unanswerable = Case(id="q3", question="why?", reference="because", unanswerable=True)
    generated = Suite(id="truth", project="acme", generated_by="helpdesk")

    created = await evaluator.suite_crud.create(ADA, generated, [judged, unjudged, unanswerable], write())

    assert (created.judged, created.unanswerable, created.without_reference) == (1, 1, 1)
    assert created.generated_by == "helpdesk"
    assert (await evaluator.suite_crud.get(ADA, "truth"))[1] == [judged, unjudged, unanswerable]
    failed = await evaluator.finish(await evaluator.by_hand())
    assert (failed.reason, failed.message.partition(":")[0]) == (
        "NO_CASES",
        "1 of 3 cases of suite truth have neither a reference answer, a schema, tests nor an expectation",
    )


async def test_a_case_with_a_schema_is_read_as_it_was_given_and_needs_no_reference() -> None:
    evaluator = Evaluator()
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"minimum": 1.5, "maxLength": 3}}}
    given = [replace(cases(1)[0], reference="", schema=schema), replace(cases(2)[1], schema={})]

    await evaluator.suite_crud.create(ADA, TRUTH, given, write())

    suite, read = await evaluator.suite_crud.get(ADA, "truth")
    assert list(read) == given
    assert (suite.without_reference, suite.unscored, suite.incomparable) == (1, 0, "")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": 5}, r"is no JSON Schema at \$.type"),
        ({"pattern": "["}, r"is no JSON Schema at \$.pattern"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, r"leads out of the schema"),
        ({"$dynamicRef": "http://127.0.0.1:9/x"}, r"has a \$dynamicRef at \$"),
        ({"properties": {"a": {"$id": "sub"}}}, r"has an \$id at \$.properties.a: only the whole"),
        ({"$ref": "#"}, r"refers to itself at \$ without"),
        ({"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}}, r"refers to itself at \$.\$defs.a"),
    ],
)
async def test_a_schema_that_cannot_be_followed_is_refused_by_case_and_place_and_not_stored(
    schema: dict[str, object], says: str
) -> None:
    evaluator = Evaluator()
    one, two = cases(2)

    with pytest.raises(InvalidInput, match=says) as refused:
        await evaluator.suite_crud.create(ADA, TRUTH, [one, replace(two, schema=schema)], write())

    assert [each.field for each in refused.value.violations] == ["suite.cases[1].schema"]
    assert evaluator.objects.buckets[BUCKET] == {}
    await evaluator.with_suite()
    with pytest.raises(InvalidInput, match=says):
        await update(evaluator, [replace(two, schema=schema)])


async def test_a_schema_that_refers_to_itself_for_a_part_of_the_value_is_taken() -> None:
    tree = {"$id": "http://acme/tree", "properties": {"left": {"$ref": "#"}}, "anyOf": [{"$ref": "#/$defs/a"}, {}]}
    schema: dict[str, object] = {**tree, "$defs": {"a": {"items": {"$ref": "#"}}}}

    await Evaluator().suite_crud.create(ADA, TRUTH, [replace(cases(1)[0], schema=schema)], write())


async def test_only_the_schema_that_takes_too_long_is_refused_for_it() -> None:
    class Slow(ProcessesHere):
        async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
            if "slow" in str(arguments):
                raise WorkEndedError(cause="cpu", why="takes too long")
            return await super().run(project, work, *arguments)

    wrong = await BoundedSchemas(Slow()).wrong_with(ADA, ["{}", "[]", '{"slow": 1}', "{}", "{}"])

    assert wrong == ["", "is not a JSON object", "cannot be checked: it takes too long", "", ""]
