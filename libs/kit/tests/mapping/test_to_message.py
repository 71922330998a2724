"""Messages are filled by name, and nothing of a message is forgotten in silence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from types import MappingProxyType

import pytest
from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import evaluation_pb2, suite_pb2
from tidemill.feedback.v1 import feedback_pb2
from tidemill.inference.v1 import configuration_pb2, inference_pb2, rollout_pb2
from tidemill_core.aggregate import Aggregate
from tidemill_kit.grpc.requests import timestamp_of
from tidemill_kit.mapping import to_message
from tidemill_testkit.mapping import unsent

MOMENT = datetime(2026, 11, 28, 12, 0, 0, 5000, tzinfo=UTC)


class Metric(StrEnum):
    EXACT = "exact_match"


class StickyBy(Enum):
    END_USER = "user"
    REQUEST = "request"


class OnTimeout(Enum):
    HOLD = 1
    EXPLODE = 2


@dataclass(frozen=True, kw_only=True)
class Requirement:
    suite: str = ""
    dataset: str = ""
    metric: Metric = Metric.EXACT
    gain_above: float = 0.0
    at_least: int = 0


@dataclass(frozen=True, kw_only=True)
class Reevaluate:
    every: timedelta = timedelta(0)


@dataclass(kw_only=True)
class Gate(Aggregate):
    deployment: str = "helpdesk"
    candidate: str = "tiny"
    collection: str = ""
    retrieval: None = None
    confidence: float = 0.95
    require: tuple[Requirement, ...] = ()
    paused: bool = False
    cluster_by: tuple[str, ...] = ()
    max_size_ratio: float = 0.0
    max_exposure: float = 0.0
    candidate_prompt: str = ""
    reevaluate: Reevaluate | None = None
    inner: str = "not in the contract"


@dataclass(frozen=True, kw_only=True)
class Usage:
    input_tokens: int = 3
    output_tokens: int = 4
    first_token_s: float = 0.25
    total_s: float = 1.5
    search_s: float = 0.0
    cached_input_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    temperature: float | None = 0.0
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: frozenset[str] = frozenset({"b", "a"})
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    collection: str = "manuals"
    top_k: int = 4
    index: int = 0
    metadata_filter: Mapping[str, object] = field(default_factory=dict)
    min_score: float = 0.0
    rewrite: str = ""
    query_turns: int = 1
    query_variants: int = 0
    other_collections: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    shadow: bool = False
    weight: int = 10
    requests: int = 20
    at_least: int = 0
    at_most: timedelta = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Policy:
    gate: str = "better"
    index_gate: str = ""
    prompt_gate: str = ""
    sticky_by: StickyBy = StickyBy.REQUEST
    steps: tuple[Step, ...] = (Step(),)
    on_timeout: int = rollout_pb2.ON_TIMEOUT_HOLD


def a_gate(*require: Requirement) -> Gate:
    return Gate(id="g", project="acme", version=7, seq=2, create_time=MOMENT, labels={"team": "x"}, require=require)


def test_fields_are_the_attributes_of_the_same_name_and_the_etag_is_the_version() -> None:
    message = to_message(evaluation_pb2.Gate, a_gate(Requirement(suite="faq", at_least=3)))
    expected = evaluation_pb2.Gate(
        id="g",
        project="acme",
        etag="7",
        seq=2,
        labels={"team": "x"},
        create_time=timestamp_of(MOMENT),
        deployment="helpdesk",
        candidate="tiny",
        confidence=0.95,
        require=[evaluation_pb2.Requirement(suite="faq", metric="exact_match", at_least=3)],
    )
    assert message == expected


def test_differences_win_and_none_leaves_a_field_unset() -> None:
    requirement = evaluation_pb2.Requirement(dataset="d")
    message = to_message(evaluation_pb2.Gate, a_gate(), candidate="other", require=[requirement], create_time=None)
    assert message.candidate == "other"
    assert list(message.require) == [requirement]
    assert not message.HasField("create_time")


def test_the_first_source_that_has_an_attribute_gives_it() -> None:
    @dataclass(kw_only=True)
    class Spec:
        deployment: str = "of the spec"
        candidate: str = "of the spec"

    message = to_message(evaluation_pb2.Gate, Spec(), a_gate())
    assert (message.deployment, message.confidence) == ("of the spec", 0.95)


def test_a_duration_is_filled_by_seconds_under_the_name_with_its_unit() -> None:
    message = to_message(inference_pb2.Usage, Usage())
    assert message.first_token.ToTimedelta() == timedelta(seconds=0.25)
    assert message.HasField("search")


def test_an_optional_field_is_set_by_its_default_and_unset_by_none() -> None:
    message = to_message(configuration_pb2.Sampling, Sampling())
    assert message.HasField("temperature")
    assert not message.HasField("seed")


def test_a_set_is_sorted() -> None:
    assert list(to_message(configuration_pb2.Sampling, Sampling()).stop) == ["a", "b"]


def test_a_struct_takes_mappings_and_tuples_at_any_depth() -> None:
    deep = MappingProxyType({"tags": ("a", 1), "in": MappingProxyType({"x": None})})
    message = to_message(configuration_pb2.Retrieval, Retrieval(metadata_filter=deep))
    assert MessageToDict(message.metadata_filter) == {"tags": ["a", 1], "in": {"x": None}}


def test_enums_and_times_go_by_name_in_nested_messages_too() -> None:
    message = to_message(rollout_pb2.RolloutPolicy, Policy(), abort=None, approval=None)
    assert message.sticky_by == rollout_pb2.STICKY_BY_REQUEST
    assert message.steps[0].at_most.ToTimedelta() == timedelta(hours=1)


def test_an_enum_with_a_member_that_the_contract_lacks_is_an_error_before_that_member_is_used() -> None:
    policy = to_message(rollout_pb2.RolloutPolicy, Policy(), abort=None, approval=None)
    assert policy.on_timeout == rollout_pb2.ON_TIMEOUT_HOLD  # a number goes as it is
    with pytest.raises(TypeError, match=r"OnTimeout\.EXPLODE has no value in tidemill\.inference\.v1\.OnTimeout"):
        to_message(rollout_pb2.RolloutPolicy, Policy(), abort=None, approval=None, on_timeout=OnTimeout.HOLD)


def test_of_a_oneof_the_member_that_says_something_is_set() -> None:
    assert to_message(evaluation_pb2.Requirement, Requirement(dataset="d")).WhichOneof("cases") == "dataset"
    assert to_message(evaluation_pb2.Requirement, Requirement()).WhichOneof("cases") is None


def test_a_single_member_of_a_oneof_is_set_even_to_its_default() -> None:
    given = _fields_but(feedback_pb2.Feedback, "flag", "number", "category", "comment", "correction")
    message = to_message(feedback_pb2.Feedback, number=0, **dict.fromkeys(given))
    assert message.WhichOneof("value") == "number"


def test_two_members_of_a_oneof_are_an_error() -> None:
    with pytest.raises(ValueError, match="takes one of suite, dataset"):
        to_message(evaluation_pb2.Requirement, Requirement(suite="a", dataset="b"))


@pytest.mark.parametrize("left_out", ["paused", "require"])
def test_a_field_without_an_attribute_is_an_error_that_names_it(left_out: str) -> None:
    @dataclass(kw_only=True)
    class Smaller:
        id: str = "x"

    given = dict.fromkeys(set(evaluation_pb2.Gate.DESCRIPTOR.fields_by_name) - {"id", left_out})
    with pytest.raises(TypeError, match=rf"tidemill\.evaluator\.v1\.Gate\.{left_out} has no attribute in Smaller"):
        to_message(evaluation_pb2.Gate, Smaller(), **given)


def test_a_method_is_no_attribute() -> None:
    class Turned:
        role = content_pb2.ROLE_USER
        parts = ()

        def name(self) -> str:
            return "called"

    with pytest.raises(TypeError, match="name has no attribute in Turned"):
        to_message(content_pb2.Message, Turned())


def test_a_difference_without_a_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="has no field sizes"):
        to_message(suite_pb2.Suite, sizes=3)


def test_what_is_not_sent_can_be_listed_for_a_test() -> None:
    assert unsent(evaluation_pb2.Gate, Gate) == {"inner"}
    assert unsent(inference_pb2.Usage, Usage) == set()


def _fields_but(message_class: type[object], *names: str) -> set[str]:
    return set(message_class.DESCRIPTOR.fields_by_name) - set(names)  # type: ignore[attr-defined] # a message's class
