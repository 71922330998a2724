import pytest

from tidemill.inference.v1.inference_pb2 import Inference, Variant
from tidemill_helpdesk.engine import OtherEngine, engine_of

ANSWER = Inference(variant=Variant(engine="transformers 5.19 float32"))


def test_the_engine_of_an_answer_is_what_its_record_says() -> None:
    assert engine_of(ANSWER, environment={}) == "transformers 5.19 float32"
    assert engine_of(ANSWER, environment={"INFERENCE_ENGINE": "transformers"}) == "transformers 5.19 float32"


def test_an_answer_by_another_engine_than_was_asked_for_ends_the_demo_with_what_to_do() -> None:
    with pytest.raises(OtherEngine, match=r"is vllm and transformers 5\.19 float32 answers.*make down"):
        engine_of(ANSWER, environment={"INFERENCE_ENGINE": "vllm"})
