"""Counts and distributions in bounded space, what a profile makes of them, and how two differ."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime

import numpy as np
import pytest
from scipy import stats

from services.ingest.tests.profiled import ProcessesHere
from tidemill_core.errors import InvalidInput
from tidemill_ingest.profiles import examples
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.profile import merged, profile_of
from tidemill_ingest.profiles.domain.shift import shifts
from tidemill_ingest.profiles.domain.sketch import MAX_CATEGORIES, OTHER, Distribution, Sketch
from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome
from tidemill_ingest.quality.traits import Traits

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = NOON.date()


def version(
    number: int = 0, *, characters: int = 100, language: str = "en", fields: tuple[str, ...] = ()
) -> NewVersion:
    traits = Traits(characters=characters, words=characters // 5, language=language, readability=40.0, digest=number)
    return NewVersion(
        document=f"d{number}",
        text="t",
        source="cms",
        stored_at=NOON,
        traits=traits,
        media_type="text/plain",
        channel="grpc",
        fields=fields,
    )


def sketch(*versions: NewVersion) -> Sketch:
    made = Sketch()
    for each in versions:
        made.add(each, Outcome(saved_at=NOON))
    return made


def lengths(values: Iterable[float], language: str = "en") -> Sketch:
    return sketch(*(version(n, characters=int(value), language=language) for n, value in enumerate(values)))


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
async def test_a_long_part_is_counted_in_pieces_each_line_once(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(examples, "MEBIBYTE", 100)
    users = [f"user:{number % 3}" for number in range(20)]
    lines = [json.dumps({"question": f"q{number}", "asked_by": user}).encode() for number, user in enumerate(users)]

    whole = await examples.ProcessExamples(ProcessesHere())("acme", {"train": b"\n".join(lines) + end}, {})

    assert whole.count == whole.counts("split")["train"] == 20
    assert whole.numbers["examples_of_end_user"].count == 3


def test_days_that_are_merged_say_what_all_of_them_would() -> None:
    one, other = lengths(range(100, 150)), lengths(range(150, 200), language="de")
    whole, days = merged([(DAY, one), (date(2026, 1, 2), other)])
    profile = profile_of(whole, days)

    assert (profile.count, [each.count for each in profile.days]) == (100, [50, 50])
    characters = profile.numbers[0]
    assert (characters.name, characters.count, characters.mean, characters.rank_error) == ("characters", 100, 149.5, 0)
    assert (characters.quantiles[0], characters.quantiles[20], characters.quantiles[40]) == (100, 150, 199)
    assert {each.name: each.count for each in profile.categories[0].counts} == {"de": 50, "en": 50}
    assert (round(profile.distinct_texts), round(profile.distinct_documents)) == (50, 50)
    assert one.count == 50


def test_quantiles_of_many_values_are_right_within_the_error_that_is_stated() -> None:
    values = np.random.default_rng(1).lognormal(7, 1, 50_000)
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    again = Distribution(distribution.to_bytes(), total=distribution.total)

    ranks = np.searchsorted(np.sort(values), again.quantiles()) / len(values)

    assert 0 < again.rank_error < 0.01
    assert np.abs(ranks - np.linspace(0, 1, 41)).max() <= 2 * again.rank_error
    assert len(again.to_bytes()) < 12_000


def test_outliers_are_outside_of_tukeys_fences() -> None:
    profile = profile_of(lengths([*range(90, 111), 10, 1000]), ())

    assert profile.numbers[0].outliers == 2
    assert profile_of(Sketch(), ()).numbers[0].outliers == 0


def test_names_that_callers_choose_do_not_fill_a_sketch_and_rare_ones_are_not_shown() -> None:
    made = sketch(*(version(n, fields=(f"metadata.field-{n}", "metadata.product")) for n in range(MAX_CATEGORIES + 50)))

    (fields,) = (each for each in profile_of(made, ()).categories if each.name == "fields")

    assert len(made.counts("fields")) == MAX_CATEGORIES + 1
    assert [each.name for each in fields.counts] == ["metadata.product", OTHER]
    assert fields.counts[1].count == MAX_CATEGORIES + 50


def test_tests_of_exact_distributions_are_those_of_scipy() -> None:
    random = np.random.default_rng(2)
    before, after = random.integers(50, 150, 200), random.integers(60, 160, 150)
    one, other = lengths(before), lengths(after)
    one.categories["language"], other.categories["language"] = {"en": 150, "de": 50}, {"en": 80, "de": 70}

    by_column = {each.column: each for each in shifts(one, other)}

    expected = stats.ks_2samp(before, after, method="asymp")
    assert by_column["characters"].effect == pytest.approx(expected.statistic, abs=0.02)
    assert by_column["language"].p_value == pytest.approx(
        stats.chi2_contingency([[150, 50], [80, 70]], correction=False).pvalue
    )
    assert by_column["language"].shifted
    assert by_column["media_type"].p_value == 1


def test_what_is_distributed_alike_is_no_shift_and_what_is_longer_is_one() -> None:
    random = np.random.default_rng(3)
    sizes = random.lognormal(7, 1, 3000)
    alike, longer = random.lognormal(7, 1, 3000), random.lognormal(7.3, 1, 3000)

    assert not any(each.shifted for each in shifts(lengths(sizes), lengths(alike)))
    shifted = [each.column for each in shifts(lengths(sizes), lengths(longer)) if each.shifted]
    assert shifted == ["characters", "words"]


def test_few_of_a_category_are_taken_together() -> None:
    one, other = lengths([1] * 100), lengths([1] * 100)
    rare = {f"l{n}": 1 for n in range(20)}
    one.categories["language"], other.categories["language"] = {"en": 80, **rare}, {"en": 100}

    (language,) = (each for each in shifts(one, other) if each.column == "language")

    assert language.p_value == pytest.approx(stats.chi2_contingency([[80, 20], [100, 0]], correction=False).pvalue)


def test_nothing_is_tested_where_a_side_is_empty() -> None:
    assert shifts(Sketch(), lengths([100])) == ()


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [("", "", 30), ("2026-01-01", "2026-01-01", 1), ("", "2026-01-30", 30), ("2025-01-01", "2026-02-04", 400)],
)
def test_a_period_is_30_days_unless_both_ends_are_named(first: str, last: str, days: int) -> None:
    period = Period.of(first, last, today=date(2026, 3, 1), field="period")
    assert (period.last - period.first).days + 1 == days


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2026-01-02", "2026-01-01", "name 1 to 400 days"),
        ("2025-01-01", "2026-02-05", "name 1 to 400 days"),
        ("yesterday", "", "period.first_day: is 'yesterday'; use a day such as"),
        ("", "2026-13-01", "period.last_day"),
    ],
)
def test_a_period_that_is_none_is_refused(first: str, last: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Period.of(first, last, today=date(2026, 3, 1), field="period")
