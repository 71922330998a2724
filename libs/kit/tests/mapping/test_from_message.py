"""Requests become values and commands; what is wrong in them is named by field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import evaluation_pb2
from tidemill.feedback.v1 import curation_pb2, feedback_pb2
from tidemill.inference.v1 import configuration_pb2, deployment_pb2, inference_pb2, rollout_pb2
from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import REST, from_message, from_struct, from_timestamp


class Metric(StrEnum):
    EXACT = "exact_match"


class Role(Enum):
    SYSTEM = "s"
    USER = "u"
    ASSISTANT = "a"


class RecordMode(Enum):
    NONE = 0
    METADATA = 1
    FULL = 2


BY_SEARCHES = {"retrieval"}
"""What a gate of index versions has, and this one has not."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    metric: Metric
    suite: str = ""
    dataset: str = ""
    gain_above: float = 0.0
    at_least: int = 0


@dataclass(frozen=True, kw_only=True)
class Reevaluate:
    every: timedelta = timedelta(0)
    on_provider_change: bool = False


@dataclass(kw_only=True)
class Gate(Aggregate):
    deployment: str
    candidate: str
    collection: str = ""
    confidence: float = 0.95
    require: tuple[Requirement, ...] = ()
    paused: bool = False
    cluster_by: tuple[str, ...] = ()
    max_size_ratio: float = 0.0
    max_exposure: float = 0.0
    candidate_prompt: str = ""
    reevaluate: Reevaluate | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int = 5
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    collection: str
    top_k: int
    index: int
    metadata_filter: Mapping[str, object]
    min_score: float
    query_turns: int
    rewrite: str = ""
    query_variants: int = 0
    other_collections: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deployment:
    record: RecordMode = RecordMode.FULL
    deadline: timedelta = timedelta(seconds=30)
    sampling: Sampling = field(default_factory=Sampling)
    retrieval: Retrieval | None = None
    fallback: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Part:
    text: str = ""
    tool_call: object = None
    tool_result: object = None
    reasoning: str = ""
    json: str = ""


@dataclass(frozen=True, kw_only=True)
class Turn:
    role: Role
    name: str


def a_struct(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def a_gate(**fields: object) -> evaluation_pb2.Gate:
    requirement = evaluation_pb2.Requirement(suite="faq", metric="exact_match")
    return evaluation_pb2.Gate(id="g", deployment="d", candidate="c", require=[requirement], **fields)  # type: ignore[arg-type] # by name


def test_fields_are_read_by_name_and_differences_are_given() -> None:
    gate = from_message(
        Gate, a_gate(labels={"a": "b"}, confidence=0.0), project="acme", confidence=0.9, ignore=BY_SEARCHES
    )
    assert gate == Gate(
        id="g",
        project="acme",
        labels={"a": "b"},
        deployment="d",
        candidate="c",
        confidence=0.9,
        require=(Requirement(metric=Metric.EXACT, suite="faq"),),
    )


def test_what_the_server_sets_is_never_read_into_an_aggregate() -> None:
    sent = a_gate(seq=9, etag="4", project="another", create_time=Timestamp(seconds=5))
    gate = from_message(Gate, sent, project="acme", ignore=BY_SEARCHES)
    assert (gate.project, gate.seq, gate.version, gate.create_time) == ("acme", 0, 0, None)


def test_the_project_of_an_aggregate_has_to_be_given() -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'project'"):
        from_message(Gate, a_gate(), ignore=BY_SEARCHES)


def test_what_is_absent_takes_the_default() -> None:
    deployment = from_message(Deployment, deployment_pb2.Deployment(), ignore=REST)
    assert deployment == Deployment()


def test_what_is_present_is_read_also_where_it_is_the_default_of_its_type() -> None:
    message = deployment_pb2.Deployment(
        record=deployment_pb2.RECORD_MODE_NONE,
        deadline=Duration(),
        sampling=configuration_pb2.Sampling(temperature=0.0, seed=0),
        retrieval=configuration_pb2.Retrieval(metadata_filter=a_struct({"tags": ["a", 1]})),
        fallback=["b", "a"],
    )
    retrieval = Retrieval(
        collection="", top_k=0, index=0, metadata_filter={"tags": ["a", 1]}, min_score=0.0, query_turns=0
    )
    assert from_message(Deployment, message, ignore=REST) == Deployment(
        record=RecordMode.NONE,
        deadline=timedelta(0),
        sampling=Sampling(temperature=0.0, seed=0),
        retrieval=retrieval,
        fallback=frozenset({"a", "b"}),
    )


def test_an_absent_message_without_a_default_is_an_empty_one() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Asked:
        sampling: Sampling

    assert from_message(Asked, deployment_pb2.Deployment(), ignore=REST).sampling == Sampling()


def test_a_duration_is_read_in_seconds_under_the_name_with_its_unit() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Usage:
        first_token_s: float
        total_s: float | None

    message = inference_pb2.Usage(first_token=Duration(nanos=500_000_000))
    assert from_message(Usage, message, ignore=REST) == Usage(first_token_s=0.5, total_s=None)


@pytest.mark.parametrize(
    ("message", "field", "text"),
    [
        (content_pb2.Message(), "turn.role", "is missing"),
        (content_pb2.Message(role=77), "turn.role", "is 77; use one of SYSTEM, USER, ASSISTANT"),  # type: ignore[arg-type] # of a newer caller
    ],
)
def test_an_enum_that_is_missing_or_unknown_is_refused_by_field(message: Message, field: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_message(Turn, message, prefix="turn", ignore={"parts"})
    assert [(each.field, each.description) for each in caught.value.violations] == [(field, text)]


def test_a_violation_names_the_place_in_a_list() -> None:
    right, wrong = evaluation_pb2.Requirement(metric="exact_match"), evaluation_pb2.Requirement(metric="x")
    sent = evaluation_pb2.Gate(require=[right, wrong])
    with pytest.raises(InvalidInput, match=r"gate\.require\[1\]\.metric: is x; use one of exact_match"):
        from_message(Gate, sent, prefix="gate", project="acme", ignore=BY_SEARCHES)


def test_a_time_that_is_none_is_refused_by_field() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Reaction:
        observe_time: datetime

    with pytest.raises(InvalidInput, match="observe_time: has 999999999999 seconds"):
        from_message(Reaction, feedback_pb2.Feedback(observe_time=Timestamp(seconds=999999999999)), ignore=REST)
    with pytest.raises(InvalidInput, match="observe_time: is missing"):
        from_message(Reaction, feedback_pb2.Feedback(), ignore=REST)
    read = from_message(Reaction, feedback_pb2.Feedback(observe_time=Timestamp(seconds=60)), ignore=REST)
    assert read.observe_time == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)


def test_a_duration_beyond_every_limit_is_left_to_the_domain() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Rule:
        at_latest_every: timedelta | None

    message = curation_pb2.Curation(at_latest_every=Duration(seconds=300_000_000_000))
    assert from_message(Rule, message, ignore=REST).at_latest_every == timedelta(seconds=10**10)


def test_a_number_that_json_lacks_is_refused_by_field() -> None:
    message = configuration_pb2.Retrieval(metadata_filter=a_struct({"a": float("nan")}))
    with pytest.raises(InvalidInput, match="metadata_filter: contains NaN or Infinity"):
        from_message(Retrieval, message)


def test_a_struct_is_read_and_what_json_lacks_is_refused_at_any_depth() -> None:
    assert from_struct(a_struct({"a": [{"b": 1}]}), field="variables") == {"a": [{"b": 1.0}]}
    with pytest.raises(InvalidInput, match="variables: contains NaN or Infinity"):
        from_struct(a_struct({"a": [{"b": [float("inf")]}]}), field="variables")


@pytest.mark.parametrize(("seconds", "nanos"), [(0, -1), (0, 10**9), (10**12, 0), (-(10**12), 0)])
def test_a_time_that_does_not_exist_is_refused_by_field(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidInput, match=f"expire_time: has {seconds} seconds and {nanos} nanos"):
        from_timestamp(Timestamp(seconds=seconds, nanos=nanos), field="expire_time")


def test_a_field_of_the_class_without_a_source_is_an_error() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Asked:
        unheard_of: str

    with pytest.raises(TypeError, match=r"Asked\.unheard_of has no field in tidemill\.inference\.v1\.Deployment"):
        from_message(Asked, deployment_pb2.Deployment(), ignore=REST)


def test_a_field_of_the_message_that_nothing_reads_is_an_error_until_it_is_named() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Step:
        shadow: bool
        weight: int
        requests: int
        at_least: int

    message = rollout_pb2.RolloutStep(weight=10)
    with pytest.raises(TypeError, match=r"RolloutStep\.at_most is read into nothing"):
        from_message(Step, message)
    assert from_message(Step, message, ignore={"at_most"}).weight == 10
