"""Bodies made to be long to refuse are refused quickly."""

import json
import time

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.messages import question_of
from tidemill_inference.openai_api.schemas import chat_request_of

BASE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    "body",
    [
        {**BASE, **{f"k{number}": 1 for number in range(750_000)}},
        {"model": "m", "messages": [{"role": "user", "content": "x", **{f"k{n}": 1 for n in range(250)}}] * 1000},
        {"model": "m", "messages": [{"role": "user", "content": "x"}] * 90_000},
        {"model": "m", "messages": [1] * 1_000_000},
        {**BASE, "tidemill": {"principals": ["x"] * 500_000}},
        {**BASE, "tidemill": {f"k{number}": 1 for number in range(200_000)}},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 100_000}]},
    ],
)
def test_a_body_made_to_be_refused_at_length_is_refused_quickly(body: dict[str, object]) -> None:
    raw = json.dumps(body).encode()
    began = time.thread_time()
    with pytest.raises(InvalidInput):
        chat_request_of(raw)

    assert time.thread_time() - began < 4  # naming each wrong name took six


def test_a_name_twice_among_very_many_is_found_at_once() -> None:
    raw = ("{" + ",".join(f'"k{number}":1' for number in range(20_000)) + ',"k0":1}').encode()
    began = time.thread_time()
    with pytest.raises(InvalidInput, match="k0: occurs twice"):
        chat_request_of(raw)

    assert time.thread_time() - began < 5  # comparing each with all before it takes 20 s


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('"messages":[' + ",".join(['{"role":"user","content":[' + "1," * 1900 + "1]}"] * 900) + "]", "content"),
        ('"messages":[' + ",".join(['{"role":"user","content":[' + "[]," * 150 + "1]}"] * 900) + "]", "content"),
        ('"messages":[],"stop":[' + "1," * 1_500_000 + "1]", "stop"),
        ('"messages":[],"stop":[' + '"",' * 1_000_000 + '""]', "stop"),
        ('"messages":[],"tools":[' + "[]," * 1_000_000 + "[]]", "opening brackets"),
        ('"messages":[],"tidemill":{"variables":{"a":[' + "1," * 1_500_000 + "1]}}", "variables: has more than"),
        ('"messages":[],"tidemill":{"variables":{"a":[' + "[]," * 1_000_000 + "1]}}", "opening brackets"),
    ],
)
def test_a_body_of_very_many_wrong_values_is_refused_in_no_time(raw: str, why: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidInput, match=why):
        chat_request_of(f'{{"model":"helpdesk",{raw}}}'.encode())

    assert time.thread_time() - began < 4.0  # naming each wrong value took up to thirteen


def test_more_of_anything_than_a_question_has_is_refused_before_it_is_checked() -> None:
    for field, requested in (
        ("messages", pb.GenerateRequest(messages=[content_pb2.Message()] * 1001)),
        ("messages", pb.GenerateRequest(messages=[content_pb2.Message(parts=[content_pb2.Part()] * 10_001)])),
        ("principals", pb.GenerateRequest(principals=["x"] * 1001)),
        ("passages", pb.GenerateRequest(passages=[content_pb2.Passage()] * 101)),
        ("variables", pb.GenerateRequest(variables=json_format.ParseDict({"a": [None] * 400_000}, Struct()))),
        ("labels", pb.GenerateRequest(labels={f"k{number}": "" for number in range(65)})),
    ):
        requested.deployment = "helpdesk"
        with pytest.raises(QuestionRefused, match=f"{field}: has"):
            question_of(requested)
