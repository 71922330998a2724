"""Datasets take examples by what reviewers agreed on of them, from their next version on."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.ingest.tests.datasets.examples import ids_in, numbered
from services.ingest.tests.datasets.fakes import NAME, Datasets, QueuesHere
from services.ingest.tests.fakes import ACME
from services.ingest.tests.labelled import labels_of
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.application import Caller, Request
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_core.resources import Write
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.label_rules import LabelCount, LabelRule, rule_violations, select
from tidemill_ingest.labels.domain import LabelValue
from tidemill_testkit.clocks import NOON

GOOD = LabelRule(queue="quality", field="verdict", values=("good",))
NOT_BAD = LabelRule(queue="quality", field="verdict", values=("bad",), exclude=True)


async def label(
    datasets: Datasets, examples: list[ExampleMessage], *, verdict: str, at: datetime = NOON + timedelta(hours=1)
) -> None:
    for each in examples:
        await datasets.labels.put("acme", labels_of(f"item of {each.id}", example=each.id, verdict=verdict, at=at))


async def taken(datasets: Datasets) -> set[str]:
    parts = [await datasets.reading.part(ACME, "helpdesk_sft", each) for each in ("train", "held_out")]
    return {each for part in parts for each in ids_in(part)}


def ids(examples: list[ExampleMessage]) -> set[str]:
    return {each.id for each in examples}


async def test_a_rule_that_takes_leaves_out_examples_with_another_label_and_without_one() -> None:
    datasets, offered = await Datasets().declared(rules=(GOOD,)), numbered(40)
    await label(datasets, offered[:20], verdict="good")
    await label(datasets, offered[20:30], verdict="bad")

    await datasets.turned(offered)

    assert await taken(datasets) == ids(offered[:20])
    draft = (await datasets.newest()).draft
    assert (draft.statistics.offered, draft.statistics.excluded) == (40, 20)
    assert draft.label_use is not None
    assert draft.label_use.rules == (GOOD,)
    assert [(each.value, each.examples) for each in draft.label_use.counts] == [("good", 20), ("", 10), ("bad", 10)]


async def test_a_rule_that_excludes_keeps_examples_without_a_label() -> None:
    datasets, offered = await Datasets().declared(rules=(NOT_BAD,)), numbered(40)
    await label(datasets, offered[:5], verdict="bad")
    await label(datasets, offered[5:9], verdict="good")

    await datasets.turned(offered)

    assert await taken(datasets) == ids(offered[5:])


async def test_a_label_of_what_an_example_was_before_takes_nothing_and_excludes_until_it_is_resolved_anew() -> None:
    datasets, offered = await Datasets().declared(rules=(GOOD,)), numbered(40)
    await label(datasets, offered, verdict="good")
    changed = offered[0]
    changed.output.parts[0].text = "This is not reviewed yet."
    changed.change_time.FromDatetime(NOON + timedelta(hours=2))  # its observe_time is what its sender says

    await datasets.turned(offered)

    assert await taken(datasets) == ids(offered[1:])
    draft = (await datasets.newest()).draft
    assert draft.label_use is not None
    assert [(each.value, each.examples) for each in draft.label_use.counts] == [("good", 39), ("", 1)]
    assert b"change_time" not in await datasets.reading.part(ACME, "helpdesk_sft", "train")
    await label(datasets, [changed], verdict="good", at=NOON + timedelta(hours=3))
    await datasets.turned(offered, seq=2)
    assert await taken(datasets) == ids(offered)

    found = {changed.id: [labels_of("i1", example=changed.id, verdict="bad")]}
    since = {changed.id: NOON + timedelta(hours=2)}
    assert select((NOT_BAD,), since, found).left_out == {changed.id}
    assert select((GOOD, NOT_BAD), since, found).left_out == {changed.id}


async def test_a_batch_that_does_not_say_when_examples_changed_has_them_as_they_were_observed() -> None:
    datasets, offered = await Datasets().declared(rules=(GOOD,)), numbered(40)
    await label(datasets, offered, verdict="good", at=NOON + timedelta(seconds=19, milliseconds=500))

    await datasets.turned(offered)

    assert await taken(datasets) == ids(offered[:20])


async def test_a_changed_label_changes_the_next_version_and_no_earlier_one() -> None:
    datasets, offered = await Datasets().declared(rules=(NOT_BAD,)), numbered(40)
    await datasets.turned(offered)
    before = await datasets.newest()

    await label(datasets, offered[:1], verdict="bad")
    await datasets.turned(offered, seq=2)

    after = await datasets.newest()
    assert (before.number, after.number) == (1, 2)
    assert await datasets.reading.version(ACME, "helpdesk_sft@1") == before
    assert before.draft.label_use is not None
    assert after.draft.label_use is not None
    assert before.draft.label_use.digest != after.draft.label_use.digest
    assert ids(offered) - await taken(datasets) == ids(offered[:1])


async def test_rules_that_leave_too_little_say_how_many_they_leave_out() -> None:
    datasets = await Datasets().declared(rules=(GOOD,))

    dataset = await datasets.turned(numbered(40))

    assert dataset.last_withheld is not None
    assert dataset.last_withheld.reason == "TOO_FEW_EXAMPLES"
    assert dataset.last_withheld.message.endswith("label rules leave out 40 more")
    assert datasets.groups.stored == {}


async def test_a_dataset_that_takes_by_labels_from_the_start_has_versions_once_what_is_offered_was_reviewed() -> None:
    datasets, offered = await Datasets().declared(rules=(GOOD,)), numbered(80)
    assert (await datasets.turned(offered[:40])).version_count == 0

    await label(datasets, offered[:40], verdict="good")
    await datasets.turned(offered[:40], seq=2)
    first = await taken(datasets)
    await label(datasets, offered[40:], verdict="good")
    dataset = await datasets.turned(offered, seq=3)

    assert (first, await taken(datasets)) == (ids(offered[:40]), ids(offered))
    assert dataset.version_count == 2


async def test_labels_of_other_projects_datasets_and_queues_do_not_count() -> None:
    datasets, offered = await Datasets().declared(rules=(NOT_BAD,)), numbered(40)
    for project, fields in (("other", {}), ("acme", {"dataset": "other_sft"}), ("acme", {"queue": "answers"})):
        found = labels_of(f"item {project} {fields}", example=offered[0].id, verdict="bad", **fields)  # type: ignore[arg-type]  # as they are
        await datasets.labels.put(project, found)

    await datasets.turned(offered)

    assert await taken(datasets) == ids(offered)


async def test_other_rules_count_for_the_next_version_and_are_checked() -> None:
    datasets, offered = await Datasets().declared(), numbered(40)
    await datasets.turned(offered)
    await label(datasets, offered[:1], verdict="bad")
    ruled = Dataset(id=NAME.id, project="acme", label_rules=(NOT_BAD,))
    write = Write(request=Request.internal())

    await datasets.managing.update(ACME, ruled, frozenset({"label_rules"}), write)
    await datasets.turned(offered, seq=2)

    assert ids(offered) - await taken(datasets) == ids(offered[:1])
    unknown = replace(ruled, label_rules=(replace(GOOD, values=("fine",)),))
    with pytest.raises(InvalidInput, match=r"'fine', which quality\.verdict has not; use good, bad"):
        await datasets.managing.update(ACME, unknown, frozenset({"label_rules"}), write)


@pytest.mark.parametrize("queues", [QueuesHere(gone=True), QueuesHere(away=True)])
async def test_the_same_request_again_has_the_same_answer_whatever_became_of_the_queue(queues: QueuesHere) -> None:
    datasets = Datasets()
    ruled = Dataset(id=NAME.id, project="acme", label_rules=(GOOD,))
    creating, updating = (Write(request=Request(id=each, digest=each)) for each in ("create", "update"))
    fields = frozenset({"label_rules"})
    await datasets.managing.create(ACME, ruled, creating)
    updated = await datasets.managing.update(ACME, replace(ruled, label_rules=(NOT_BAD,)), fields, updating)

    later = replace(datasets.managing, queues=queues)

    assert (await later.create(ACME, ruled, creating)).id == NAME.id
    assert await later.update(ACME, replace(ruled, label_rules=(NOT_BAD,)), fields, updating) == updated
    with pytest.raises((InvalidInput, DependencyUnavailable)):
        await later.update(ACME, ruled, fields, Write(request=Request(id="anew", digest="anew")))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (replace(GOOD, queue="quallity"), "has no such review queue"),
        (replace(GOOD, field="verdikt"), "use one of verdict, ok, score, better"),
        (LabelRule(queue="quality", field="better", values=("x",)), "a text"),
        (LabelRule(queue="quality", field="score", values=("4",)), "use min and max"),
        (LabelRule(queue="quality", field="verdict", min=1), "use values"),
        (LabelRule(queue="quality", field="ok", values=("yes",)), "use true, false"),
    ],
)
async def test_a_rule_about_what_its_queue_has_not_is_refused(rule: LabelRule, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        await Datasets().declared(rules=(rule,))


async def test_a_queue_of_another_project_is_none() -> None:
    datasets, other = Datasets(), Caller(project="other", subject="user:eve", roles=frozenset({"operator"}))
    dataset = Dataset(id="sft", project="other", label_rules=(GOOD,))

    with pytest.raises(InvalidInput, match="no such review queue"):
        await datasets.managing.create(other, dataset, Write(request=Request.internal()))


SCORE = LabelRule(queue="quality", field="score", min=2)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((replace(GOOD, queue="Quality"),), "is 'Quality'"),
        ((replace(GOOD, values=()),), "is empty"),
        ((replace(GOOD, min=1.0),), "use one of them"),
        ((replace(GOOD, values=("good", "good")),), "each once"),
        ((replace(GOOD, values=("",)),), "1 to 200 characters"),
        ((replace(SCORE, min=float("nan")),), "no finite number"),
        ((replace(SCORE, max=1.0),), "above max"),
        ((GOOD, GOOD), "again"),
        ((GOOD, replace(NOT_BAD, values=("bad", "good"))), "takes and excludes 'good'"),
        ((replace(SCORE, exclude=True), replace(SCORE, min=3.0)), "takes and excludes every value"),
        (tuple(replace(GOOD, field=f"f{number}") for number in range(21)), "20 is the limit"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules: tuple[LabelRule, ...], message: str) -> None:
    assert message in " ".join(each.description for each in rule_violations(rules, field="label_rules"))


def test_rules_that_narrow_each_other_are_fine() -> None:
    rules = (GOOD, NOT_BAD, SCORE, replace(SCORE, min=None, max=3.0, exclude=True))

    assert list(rule_violations(rules, field="label_rules")) == []


@pytest.mark.parametrize(
    ("rule", "value", "takes"),
    [
        (SCORE, 2.0, True),
        (SCORE, 1.9, False),
        (replace(SCORE, min=None, max=2.0, exclude=True), 2.0, False),
        (LabelRule(queue="quality", field="ok", values=("true",)), True, True),
        (LabelRule(queue="quality", field="ok", values=("true",)), False, False),
        (GOOD, "good", True),
        (SCORE, "good", False),
    ],
)
def test_values_are_compared_as_their_kind_is(rule: LabelRule, value: LabelValue, *, takes: bool) -> None:
    labels: dict[str, Any] = {rule.field: value}
    found = {"e1": [labels_of("i1", example="e1", **labels)]}

    assert (select((rule,), {"e1": None}, found).left_out == frozenset()) is takes


def test_many_values_of_a_field_are_counted_up_to_the_most_frequent_ones() -> None:
    examples = [f"e{number}" for number in range(150)]
    found = {each: [labels_of(each, example=each, score=float(number))] for number, each in enumerate(examples)}

    use = select((SCORE,), dict.fromkeys(examples), found).use

    assert len(use.counts) == 100
    assert LabelCount(queue="quality", field="score", value="0", examples=1) in use.counts


async def test_without_the_queue_of_its_rules_a_dataset_gets_no_version_and_while_feedback_is_away_offers_wait() -> (
    None
):
    datasets, offered = await Datasets().declared(rules=(NOT_BAD,)), numbered(40)
    datasets.queues.away = True
    with pytest.raises(DependencyUnavailable):
        await datasets.turned(offered)
    assert (await datasets.dataset()).offers

    datasets.queues = QueuesHere()
    datasets.queues.gone = True
    publishing = replace(datasets.publishing, queues=datasets.queues)
    assert await datasets.publish(NAME, publishing)

    dataset = await datasets.dataset()
    assert (dataset.version_count, dataset.offers) == (0, ())
    assert dataset.last_withheld is not None
    assert dataset.last_withheld.reason == "LABEL_QUEUE_GONE"
    assert dataset.last_withheld.message.endswith("gone, and labels with them: quality")


async def test_labels_of_a_deleted_dataset_go_with_its_versions() -> None:
    datasets, offered = await Datasets().declared(), numbered(40)
    await datasets.turned(offered)
    await label(datasets, offered[:2], verdict="bad")
    await datasets.deleted()
    await datasets.sweep()
    assert len(await datasets.labels.of_examples("acme", NAME.id, ids(offered))) == 2

    datasets.clock.advance(timedelta(days=2))
    await datasets.sweep()

    assert await datasets.labels.of_examples("acme", NAME.id, ids(offered)) == {}
