import pytest

from tidemill_kit.store.schema_versions import with_unknown


@pytest.mark.parametrize(
    ("stored", "before", "after", "saved"),
    [
        ({"a": 1, "new": 2}, {"a": 1}, {"a": 3}, {"a": 3, "new": 2}),
        ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": {"b": 3}}, {"a": {"b": 3, "new": 2}}),
        ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"gone": 1}}, {"a": {"gone": 1}}, {"a": {}}, {"a": {}}),
        ([{"b": 1, "new": 1}, {"b": 2, "new": 2}], [{"b": 1}, {"b": 2}], [{"b": 2}], [{"b": 2, "new": 2}]),
        ([{"b": 1, "new": 1}], [{"b": 1}], [{"b": 5}, {"b": 6}], [{"b": 5, "new": 1}, {"b": 6}]),
        ([{"b": 1, "new": 1}], [{"b": 1}], [{"b": 0}, {"b": 1}], [{"b": 0}, {"b": 1, "new": 1}]),
        ([1, 2], [1, 2], [2, 3], [2, 3]),
    ],
    ids=str,
)
def test_unknown_fields_stay_where_their_place_stays(
    stored: object, before: object, after: object, saved: object
) -> None:
    assert with_unknown(stored, before, after) == saved
