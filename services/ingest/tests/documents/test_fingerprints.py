"""Where fingerprints are stored: in memory and in MongoDB, by the same rules; and what they are made of."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from services.ingest.tests.fingerprints import FingerprintsHere
from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.documents.mongo_fingerprints import MongoFingerprints, checks_due
from tidemill_ingest.documents.ports import Fingerprints
from tidemill_ingest.quality.fingerprint import MAX_SHINGLES, Fingerprint, similarity
from tidemill_ingest.quality.shingling import fingerprint
from tidemill_kit.store.mongo import Collection, Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORDS = [f"word{number}" for number in range(200)]
COLLECTIONS = ("fingerprints", "fingerprint_keys", "fingerprint_links", "fingerprint_checks")
Stores = Callable[[], Fingerprints]


@pytest.fixture(params=["memory", "mongo"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return FingerprintsHere
    database: Database = request.getfixturevalue("database")
    return lambda: MongoFingerprints(*(database[name] for name in COLLECTIONS))


def made(text: str) -> Fingerprint:
    return fingerprint(text, within=100_000)


def stored(document: str, text: str = " ".join(WORDS), *, original: str = "") -> StoredFingerprint:
    return StoredFingerprint(document=document, text="t1", fingerprint=made(text), stored_at=NOON, original=original)


def without(*places: int) -> str:
    return " ".join(word for place, word in enumerate(WORDS) if place not in places)


def jaccard(one: str, other: str) -> float:
    first, second = (set(zip(*(text.split()[start:] for start in range(5)), strict=False)) for text in (one, other))
    return len(first & second) / len(first | second)


def names(found: Sequence[StoredFingerprint]) -> list[str]:
    return sorted(each.document for each in found)


async def test_originals_are_found_by_what_they_have_in_common_and_duplicates_are_not(stores: Stores) -> None:
    fingerprints = stores()
    near = stored("near", without(7))
    for each in (stored("a"), near, stored("copy", original="a"), stored("other", "an entirely different text")):
        await fingerprints.put("acme", each)
    await fingerprints.put("globex", stored("foreign"))

    found = await fingerprints.near("acme", made(" ".join(WORDS)), but="me")

    assert names(found) == ["a", "near"]
    assert near in found
    assert names(await fingerprints.near("acme", near.fingerprint, but="near")) == ["a"]
    assert names(await fingerprints.near("acme", made("... !"), but="me")) == []


async def test_an_original_that_becomes_a_duplicate_is_found_no_longer_until_it_is_one_again(stores: Stores) -> None:
    fingerprints = stores()
    for original in ("", "", "z", "y"):
        await fingerprints.put("acme", stored("a", original=original))

    assert names(await fingerprints.near("acme", made(" ".join(WORDS)), but="me")) == []
    assert await fingerprints.duplicates_of("acme", "z") == []
    assert await fingerprints.duplicates_of("acme", "y") == ["a"]
    assert await fingerprints.duplicates_of("acme", "y", after="a") == []
    assert [await fingerprints.known("acme", each) for each in ("a", "y", "z")] == [True, True, False]

    await fingerprints.put("acme", stored("a"))
    assert names(await fingerprints.near("acme", made(" ".join(WORDS)), but="me")) == ["a"]
    assert not await fingerprints.known("acme", "y")


async def test_what_is_removed_is_found_no_longer(stores: Stores) -> None:
    fingerprints = stores()
    for each in (stored("a"), replace(stored("a"), text="t2"), stored("b", original="a")):
        await fingerprints.put("acme", each)

    assert [each.text for each in await fingerprints.of_document("acme", "a")] == ["t1", "t2"]
    for each in (*await fingerprints.of_document("acme", "a"), stored("b", original="a"), stored("never")):
        await fingerprints.remove("acme", each)

    assert names(await fingerprints.near("acme", made(" ".join(WORDS)), but="me")) == []
    assert not await fingerprints.known("acme", "a")
    assert await fingerprints.of_document("acme", "a") == []


async def test_a_check_stays_while_it_is_asked_for_again(stores: Stores) -> None:
    fingerprints = stores()
    await fingerprints.check("acme", ["a", "b"], due=NOON)
    await fingerprints.check("acme", [], due=NOON)
    asked = await fingerprints.asked("acme", "a")
    await fingerprints.check("acme", ["a"], due=NOON - timedelta(hours=1))

    await fingerprints.checked("acme", "a", asked=asked, again=None)
    await fingerprints.checked("acme", "b", asked=1, again=None)

    assert [await fingerprints.asked("acme", each) for each in ("a", "b", "c")] == [2, 0, 0]
    await fingerprints.checked("acme", "a", asked=2, again=NOON)
    assert await fingerprints.asked("acme", "a") == 2


async def test_checks_are_found_when_they_are_due_and_nothing_is_left_of_what_is_removed(database: Database) -> None:
    fingerprints = MongoFingerprints(*(database[name] for name in COLLECTIONS))
    await fingerprints.check("acme", ["a"], due=NOON + timedelta(hours=1))
    await fingerprints.check("acme", ["a"], due=NOON)
    await fingerprints.check("acme", ["b"], due=NOON + timedelta(hours=1))
    pending = checks_due(database["fingerprint_checks"], lambda: NOON)
    await pending.ensure_indexes()

    due = await pending("", without=frozenset())

    assert [(each.project, each.id) for each in due.items] == [("acme", "a")]
    for each in (stored("a"), stored("b", original="a")):
        await fingerprints.put("acme", each)
        await fingerprints.remove("acme", each)
    left = [await database[name].count_documents({}) for name in COLLECTIONS[:3]]
    assert left == [0, 0, 0]


async def test_a_key_that_very_many_share_finds_a_bounded_number(database: Database) -> None:
    fingerprints = MongoFingerprints(*(database[name] for name in COLLECTIONS))
    key = f"acme/{made('x').keys[0]}"
    await database["fingerprint_keys"].insert_one({"_id": key, "texts": [f"d{number}/t1" for number in range(64)]})

    await fingerprints.put("acme", stored("mine", "x"))

    found = await database["fingerprint_keys"].find_one({"_id": key})
    assert found is not None
    assert len(found["texts"]) == 64


class Counting:
    """A collection that counts its calls."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.calls = Counter[str]()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the collection has it
        self.calls[name] += 1
        return getattr(self.collection, name)


async def test_the_keys_of_a_new_text_are_written_by_one_call_and_those_of_a_new_duplicate_by_none(
    database: Database,
) -> None:
    keys = Counting(database["fingerprint_keys"])
    others = [database[name] for name in COLLECTIONS if name != "fingerprint_keys"]
    fingerprints = MongoFingerprints(others[0], cast("Collection", keys), *others[1:])

    await fingerprints.put("acme", stored("a"))
    of_original = dict(keys.calls)
    await fingerprints.put("acme", stored("b", without(7), original="a"))

    assert of_original == {"insert_many": 1}
    assert dict(keys.calls) == of_original
    assert names(await fingerprints.near("acme", made(without(7)), but="b")) == ["a"]


@pytest.mark.parametrize("gone", [(3,), (3, 50, 120, 199), tuple(range(20, 60)), tuple(range(200))[1:]])
def test_the_similarity_of_short_texts_is_exact(gone: tuple[int, ...]) -> None:
    one, other = " ".join(WORDS), without(*gone)

    assert similarity(made(one), made(other)) == pytest.approx(jaccard(one, other))


async def test_a_text_is_found_whatever_the_bands_were_made_of(stores: Stores) -> None:
    fingerprints = stores()
    other_bands = replace(stored("a").fingerprint, bands=tuple(f"{number:02}-{number:016x}" for number in range(16)))
    await fingerprints.put("acme", replace(stored("a"), fingerprint=other_bands))

    assert names(await fingerprints.near("acme", made(" ".join(WORDS)), but="me")) == ["a"]


def test_that_of_long_texts_is_close() -> None:
    one = [f"w{number}" for number in range(20_000)]
    other = [("new" if number % 90 == 0 else word) for number, word in enumerate(one)]

    sketch = made(" ".join(one))

    assert len(sketch.shingles) == 8 * MAX_SHINGLES
    assert similarity(sketch, made(" ".join(other))) == pytest.approx(jaccard(" ".join(one), " ".join(other)), abs=0.04)


def test_case_marks_and_spaces_make_no_difference_but_to_equality() -> None:
    one, other = made("The pump is off. Call the desk!"), made("the PUMP is off - call  the desk")

    assert (one.bands, one.shingles) == (other.bands, other.shingles)
    assert one.text_digest != other.text_digest


@pytest.mark.parametrize(
    ("one", "other", "similar"),
    [
        ("请先关闭水泵再打开阀门并检查压力", "请先关闭水泵再打开阀门并检查温度", 10 / 14),
        ("हाथ धोने के बाद पंप बंद करें", "हाथ धोने के बाद पंप बंद करें।", 1.0),
        ("😀😀", "😀😀 ", 0.0),
    ],
)
def test_words_of_scripts_without_spaces_are_their_characters(one: str, other: str, similar: float) -> None:
    assert similarity(made(one), made(other)) == pytest.approx(similar)


def test_the_numbers_are_the_same_everywhere() -> None:
    sketch = made("Reset the password of your account in three steps.")

    assert sketch.bands[0] == "00-eef62c8772fa3017"  # as it is stored: another one would find nothing of that
    assert all(first < second for first, second in pairwise(memoryview(sketch.shingles).cast("Q")))
