import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.paging import Place, list_digest, numbered_page, place_of, token_after
from tidemill_testkit.clocks import NOON

DIGEST = list_digest("acme", {"colour": "red"}, show_deleted=False)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("item_id", ["a", "ab", "abc", "a/b", "é", '"'])
def test_a_token_leads_back_to_its_place(item_id: str) -> None:
    place = Place(NOON + timedelta(milliseconds=7), item_id)

    assert place_of(token_after(place, digest=DIGEST), digest=DIGEST) == place


def test_no_token_is_the_first_page() -> None:
    assert place_of("", digest=DIGEST) is None


def test_a_place_is_in_utc_whatever_the_token_says() -> None:
    there = datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    place = place_of(token_after(Place(there, "a"), digest=DIGEST), digest=DIGEST)

    assert place is not None
    assert place.create_time.tzinfo is UTC
    assert place.create_time == NOON


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "é",
        "====",
        encoded("{"),
        encoded("5"),
        encoded("[]"),
        encoded("[1, 2, 3]"),
        encoded('{"a": 1, "b": 2, "c": 3}'),
        encoded(f'["{DIGEST}", "yesterday", "a"]'),
        encoded(f'["{DIGEST}", "0001-01-01T00:00:00+14:00", "a"]'),
        encoded("[" * 100_000),
        encoded(f'["{DIGEST}", "2026-01-01T00:00:00Z", "\\ud800"]'),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        place_of(token, digest=DIGEST)


@pytest.mark.parametrize(
    "other",
    [
        list_digest("other", {"colour": "red"}, show_deleted=False),
        list_digest("acme", {"colour": "blue"}, show_deleted=False),
        list_digest("acme", {}, show_deleted=False),
        list_digest("acme", {"colour": "red"}, show_deleted=True),
    ],
)
def test_a_token_is_of_one_list(other: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        place_of(token_after(Place(NOON, "a"), digest=other), digest=DIGEST)


@pytest.mark.parametrize(("newest_first", "pages"), [(False, [[1, 2], [4, 5], [7]]), (True, [[7, 5], [4, 2], [1]])])
def test_versions_are_paged_by_number_from_either_end(newest_first: bool, pages: list[list[int]]) -> None:  # noqa: FBT001 - a parameter of the test
    seen, token = [], ""
    for _ in pages:
        shown, token = numbered_page([1, 2, 4, 5, 7], PageRequest(size=2, token=token, newest_first=newest_first))
        seen.append(list(shown))
    assert (seen, token) == (pages, "")


@pytest.mark.parametrize(
    ("token", "newest_first"),
    [
        ("x", False),
        ("-3", False),
        ("3", True),
        ("\u0663", False),
        ("-", True),
        ("9" * 19, False),
        ("-" + "9" * 5000, True),
    ],
)
def test_the_token_of_another_order_of_versions_is_refused(token: str, newest_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    with pytest.raises(InvalidInput, match="page_token"):
        numbered_page([1, 2], PageRequest(token=token, newest_first=newest_first))
