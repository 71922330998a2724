"""Orders and filters of List requests: taken where an index serves them, refused by name where none does."""

import pytest

from tidemill.evaluator.v1.evaluation_service_pb2 import ListEvaluationsRequest
from tidemill.ingest.v1.source_service_pb2 import ListSourcesRequest
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_kit.grpc.lists import Order, descends, values_of
from tidemill_kit.grpc.requests import page_of

FILTERS = {"gate": "gate", "deployment": "rule.deployment"}


@pytest.mark.parametrize(
    ("order", "newest"),
    [("", False), ("create_time", False), ("create_time desc", True), (" create_time   desc ", True)],
)
def test_an_order_is_one_of_two(order: str, newest: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert descends(order) is newest


@pytest.mark.parametrize("order", ["id", "create_time asc", "create_time desc, id", "CREATE_TIME", "desc"])
def test_another_order_is_refused_naming_both(order: str) -> None:
    with pytest.raises(InvalidInput, match=r'order_by: is .*; send "create_time" .* or "create_time desc"'):
        descends(order)


def test_a_list_may_have_an_order_of_its_own() -> None:
    worst = Order("difference", "worst first", "best first")

    assert not descends("difference", worst)
    assert descends("difference desc", worst)
    with pytest.raises(
        InvalidInput, match=r'send "difference" \(worst first, the default\) or "difference desc" \(best'
    ):
        descends("create_time", worst)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("  ", {}),
        ('gate = "better"', {"gate": "better"}),
        ("gate=better", {"gate": "better"}),
        (' gate = "a b"  AND\tdeployment=helpdesk@3 ', {"gate": "a b", "rule.deployment": "helpdesk@3"}),
        (r'gate = "a \"b\" \\ AND c"', {"gate": 'a "b" \\ AND c'}),
        ('gate = ""', {"gate": ""}),
    ],
)
def test_a_filter_is_terms_joined_by_and(text: str, values: dict[str, str]) -> None:
    assert values_of(text, allowed=FILTERS) == values


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('colour = "red"', "names 'colour'; allowed: deployment, gate"),
        ('gate = "a" AND gate = "b"', "names 'gate' twice"),
        ('gate != "a"', "is not a filter at 'gate != "),
        ('gate = "a" OR gate = "b"', "is not a filter at"),
        ('gate = "a" AND', "is not a filter at"),
        ('gate = "a', "is not a filter at"),
        ("AND", "is not a filter at"),
        ('gate = "a" deployment = "b"', "is not a filter at"),
        ('gate = "' + "a" * 1000, "has 1008 characters; send at most 1000"),
    ],
)
def test_another_filter_is_refused_saying_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        values_of(text, allowed=FILTERS)
    assert why in refused.value.violations[0].description


def test_a_list_without_filters_says_so() -> None:
    with pytest.raises(InvalidInput, match="this list cannot be filtered"):
        page_of(ListSourcesRequest(filter="id = x"), filters={})


def test_a_page_has_the_order_and_the_filter_by_the_names_of_the_store() -> None:
    request = ListEvaluationsRequest(order_by="create_time desc", filter='gate = "better"')
    page = page_of(request, filters={"gate": "g"})
    assert page == PageRequest(size=50, newest_first=True, where={"g": "better"})


@pytest.mark.parametrize("request_", [ListSourcesRequest(order_by="create_time"), ListSourcesRequest(filter="a = b")])
def test_a_list_that_has_neither_refuses_both(request_: ListSourcesRequest) -> None:
    with pytest.raises(InvalidInput, match="is not supported by this list"):
        page_of(request_)


def test_a_filter_by_what_a_field_of_the_request_says_too_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names 'gate', which the request's own field sets"):
        page_of(ListEvaluationsRequest(gate="a", filter="gate = b"), filters={"gate": "gate"})
