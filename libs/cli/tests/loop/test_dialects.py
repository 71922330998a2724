from pathlib import Path

import pytest

from tidemill_cli.loop.bounds import parsed_with_scalars
from tidemill_cli.loop.dialects import dialect_problems
from tidemill_cli.loop.problems import Document


def found_in(text: str) -> list[tuple[int, int, str, str]]:
    """Return line, column, path and message of each problem."""
    root, scalars = parsed_with_scalars(text)
    found = dialect_problems(Document(file=Path("loop.yaml"), root=root), scalars)
    return [(each.line, each.column, each.path, each.message) for each in found]


@pytest.mark.parametrize(
    ("scalar", "old", "new"),
    [
        ("on", "True", "'on'"),
        ("No", "False", "'No'"),
        ("y", "True", "'y'"),
        ("010", "8", "10"),
        ("0o17", "'0o17'", "15"),
        ("08", "'08'", "8"),
        ("12:30", "750", "'12:30'"),
        ("1:30.5", "90.5", "'1:30.5'"),
        ("+.5", "'+.5'", "0.5"),
    ],
)
def test_a_value_that_is_another_in_1_1_is_found(scalar: str, old: str, new: str) -> None:
    message = f"YAML 1.1 reads this as {old}, YAML 1.2 as {new}: quote it or spell it out"

    assert found_in(f"a:\n  b: {scalar}\n") == [(2, 3, "a.b", message)]


@pytest.mark.parametrize(
    "scalar",
    ["true", "~", "", "null", "7", "0", "-1_000", "0x1F", "0b11", "1.5", "1.0e-3", ".nan", "-.inf", "2026-11-30", "v1"],
)
def test_a_value_that_is_the_same_in_both_is_none(scalar: str) -> None:
    assert found_in(f"a: {scalar}\n") == []


@pytest.mark.parametrize("scalar", ['"on"', "'010'", "!!str on", "|\n  on", ">-\n  1e-3"])
def test_what_is_quoted_or_has_a_type_is_none(scalar: str) -> None:
    assert found_in(f"a: {scalar}\n") == []


def test_a_number_without_a_point_is_named_as_it_is_written() -> None:
    message = "YAML 1.1 reads -1E5 as text: write a decimal point, such as 1.0e-3"

    assert found_in("a: [1, -1E5]\n") == [(1, 8, "(yaml)", message)]


def test_keys_and_items_are_found_where_they_stand() -> None:
    assert [each[:3] for each in found_in("# first\na:\n  - {off: 1, b: [x, 010]}\n  - 010\n")] == [
        (3, 6, "a[0].off"),
        (3, 21, "a[0].b[1]"),
        (4, 5, "a[1]"),
    ]


def test_what_an_alias_or_a_merge_repeats_is_found_once_where_it_is_written() -> None:
    text = "a: &a {x: on}\nb: *a\nc: {<<: *a, z: 1}\nd: &d off\ne: *d\n"

    assert [each[:3] for each in found_in(text)] == [(1, 8, "a.x"), (4, 1, "d")]


def test_a_key_that_is_a_list_is_found_by_its_place() -> None:
    assert [each[:3] for each in found_in("? [on, 1]\n: x\n")] == [(1, 4, "(yaml)")]


def test_a_document_that_says_it_is_of_1_1_is_read_as_such() -> None:
    assert found_in("%YAML 1.1\n---\na: on\n") == []


def test_a_question_mark_in_a_flow_is_text() -> None:
    assert found_in("a: {b: Is it?, c: [who? me]}\n") == []
