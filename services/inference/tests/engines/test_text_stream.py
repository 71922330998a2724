"""Decoding an answer token by token."""

import json

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tidemill_inference.engines.text_stream import TextStream
from tidemill_testkit.processor_time import processor_time

LONGEST = "a" * 1024


def tokenizer() -> Tokenizer:
    """Return a tokenizer with a token that makes no text, as long as one may be, and one that makes some."""
    content = json.loads(Tokenizer(WordLevel({LONGEST: 0, "b": 1})).to_str())
    content["decoder"] = {"type": "Replace", "pattern": {"String": "a"}, "content": ""}
    return Tokenizer.from_str(json.dumps(content))


def test_tokens_without_text_cost_the_same_however_many_there_are() -> None:
    def cost(tokens: int) -> float:
        stream = TextStream(tokenizer())
        with processor_time() as spent:
            assert stream.feed([0] * tokens) == ""
        return spent.seconds

    cost(64)

    assert cost(512) < 4 * 8 * cost(64)


def test_text_goes_on_after_many_tokens_without_text() -> None:
    stream = TextStream(tokenizer())
    for _ in range(100):
        assert stream.feed([0]) == ""

    assert stream.feed([1]) == "b"
