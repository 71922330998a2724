"""How much one question may bring is an operator's choice, and who brings more learns what it is."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from services.inference.tests.fakes import ADA, question
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.configuration import Sampling, SamplingLimits
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.generation.asked_schemas import AskedSchemas
from tidemill_inference.generation.domain.content import Message, Part, Role
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS, QuestionLimits
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import OutputFormat, Tool
from tidemill_inference.generation.messages import question_of
from tidemill_inference.question_settings import QuestionSettings

FEW = QuestionLimits(
    messages=2,
    parts=3,
    principals=1,
    labels=1,
    tools=1,
    candidates=2,
    schema_characters=20,
    all_schema_characters=30,
    sampling=SamplingLimits(stops=1, stop_characters=3, biased_tokens=1, top_logprobs=2),
)
SAID = Message.of(Role.USER, "How?")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (question(messages=(SAID,) * 3), "messages: has 3; send at most 2, or have INFERENCE_QUESTION_MAX_MESSAGES"),
        (
            question(messages=(replace(SAID, parts=(Part(text="a"),) * 4),)),
            "messages: has 4 parts together; send at most 3, or have INFERENCE_QUESTION_MAX_PARTS raised",
        ),
        (question(principals=("a", "b")), "principals: has 2; send at most 1"),
        (question(labels={"a": "", "b": ""}), "labels: has 2; send at most 1"),
        (question(tools=(Tool(name="a"), Tool(name="b"))), "tools: has 2; .*INFERENCE_QUESTION_MAX_TOOLS raised"),
        (question(candidates=3), "candidate_count: is 3; use 1 to 2, or have INFERENCE_QUESTION_MAX_CANDIDATES"),
        (question(sampling=Sampling(logprobs=True, top_logprobs=3)), "top_logprobs: is 3; use 0 to 2"),
        (question(sampling=Sampling(stop=("a", "b"))), "stop: use at most 1 texts of 1 to 3 characters"),
        (question(sampling=Sampling(logit_bias={1: 1.0, 2: 1.0})), "logit_bias: has 2 tokens; use at most 1"),
    ],
)
def test_more_than_a_question_may_bring_is_refused_by_its_limit(asked: Question, why: str) -> None:
    asked.check()
    with pytest.raises(QuestionRefused, match=why):
        asked.check(FEW)


def test_no_candidates_are_refused_by_what_may_be_asked_for() -> None:
    with pytest.raises(QuestionRefused, match="candidate_count: is 0; use 1 to 2"):
        question(candidates=0).check(FEW)


async def test_schemas_are_as_long_as_they_may_be() -> None:
    schemas = AskedSchemas(limits=FEW)
    fits, long = '{"type": "object"}', '{"type":    "object"}'

    await schemas.check(ADA.project, question(output=OutputFormat(schema_json=fits)))
    with pytest.raises(QuestionRefused, match=r"21 characters; send at most 20.*QUESTION_MAX_SCHEMA_CHARACTERS"):
        await schemas.check(ADA.project, question(output=OutputFormat(schema_json=long)))
    tools = tuple(Tool(name=name, parameters_json=fits) for name in "ab")
    with pytest.raises(QuestionRefused, match=r"36 characters; send at most 30.*QUESTION_MAX_ALL_SCHEMA_CHARACTERS"):
        await schemas.check(ADA.project, question(tools=tools))


def test_a_request_over_grpc_is_measured_before_it_is_converted() -> None:
    asked = pb.GenerateRequest(deployment="helpdesk", messages=[content_pb2.Message()] * 3)

    with pytest.raises(QuestionRefused, match="messages: has 3; send at most 2"):
        question_of(asked, FEW)


def test_a_deployment_declares_no_more_than_questions_may_ask_for() -> None:
    spec = DeploymentSpec(model="m", prompt="p", sampling=Sampling(logprobs=True, top_logprobs=3))

    spec.check()
    with pytest.raises(InvalidInput, match="top_logprobs: is 3; use 0 to 2"):
        spec.check(FEW.sampling)


def test_every_limit_is_a_setting_within_bounds() -> None:
    fields = QuestionSettings.model_fields
    named = [name for name in QuestionLimits.__dataclass_fields__ if name != "sampling"]
    named += SamplingLimits.__dataclass_fields__
    given: dict[str, Any] = {f"question_max_{name}": 7 for name in named}
    settings = QuestionSettings.model_construct(**given)

    assert {f"question_max_{name}" for name in named} <= fields.keys()
    assert {getattr(settings.question_limits, name) for name in named if hasattr(QUESTION_BOUNDS, name)} == {7}
    assert settings.question_limits.sampling == SamplingLimits(
        stops=7, stop_characters=7, biased_tokens=7, top_logprobs=7
    )


def test_a_limit_beyond_what_an_api_reads_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="question_max_top_logprobs"):
        QuestionSettings.model_validate({"question_max_top_logprobs": 21})
