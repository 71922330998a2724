"""The guard of the stores' tests knows which query an index covers, and which it does not."""

from typing import Any

import pytest

from tidemill_testkit.queries import Index, Query, covered

LIST = Index(("project", "deleted", "state.source", "create_time", "id"))
WAITING = Index(("outbox_at", "_id"), partial=frozenset({"outbox_at"}))


def query(requested: dict[str, Any], *sort: str) -> Query:
    return Query("db", "rows", requested, sort, ("module", "function"))


@pytest.mark.parametrize(
    ("requested", "sort"),
    [
        ({"_id": "acme/1", "version": 3}, ()),
        ({"_id": {"$in": ["acme/1"]}}, ()),
        ({"project": "acme", "deleted": {"$in": [True, False]}, "state.source": "cms"}, ("create_time", "id")),
        (
            {
                "project": "acme",
                "deleted": False,
                "state.source": "cms",
                "create_time": {"$gte": 1},
                "$or": [{"id": 1}],
            },
            ("create_time", "id"),
        ),
        ({"outbox_at": {"$gt": 0, "$lt": 1}}, ("outbox_at",)),
        ({"$or": [{"_id": "acme/1"}, {"outbox_at": {"$gt": 0}}]}, ()),
    ],
)
def test_a_query_is_covered_by_an_index_with_its_fields_in_its_order(
    requested: dict[str, Any], sort: tuple[str]
) -> None:
    assert covered(query(requested, *sort), [LIST, WAITING])


@pytest.mark.parametrize(
    ("requested", "sort"),
    [
        ({}, ()),
        ({"project": "acme", "deleted": False}, ("create_time", "id")),
        ({"project": "acme", "deleted": False, "state.source": "cms"}, ("update_time",)),
        ({"project": "acme", "deleted": False, "state.source": "cms", "state.key": "k"}, ("create_time",)),
        ({"state.source": "cms"}, ()),
        ({"outbox_at": {"$exists": True}}, ("create_time",)),
        ({"$or": [{"_id": "acme/1"}, {"state.key": "k"}]}, ()),
    ],
)
def test_one_whose_field_or_order_no_index_has_is_not(requested: dict[str, Any], sort: tuple[str]) -> None:
    assert not covered(query(requested, *sort), [LIST, WAITING])
