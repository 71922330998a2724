"""What servers send in the chunks of an answer, beside what they should."""

from typing import Any

import pytest

from tidemill_inference.engines.openai_chunks import Chunks, NotHandedOnError
from tidemill_inference.engines.ports import Finish, Piece, ToolCallPiece

HALVES = ("\ud83d", "\ude00")


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a server says
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def read(*chunks: dict[str, Any]) -> tuple[list[Piece | ToolCallPiece], list[Finish]]:
    answer = Chunks(candidates=1)
    pieces = [piece for each in chunks for piece in answer.feed(each)]
    pieces += answer.end()
    return pieces, answer.finishes()


def called(arguments: str, **more: object) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0, "function": {"arguments": arguments, **more}}])


def test_a_character_whose_halves_come_in_two_chunks_is_whole_in_text_thought_and_arguments() -> None:
    first, second = HALVES
    pieces, _ = read(
        delta(reasoning_content=f"hm {first}"),
        delta(reasoning_content=f"{second}!"),
        delta(content=f"smile {first}"),
        delta(content=f"{second} end"),
        called(f'{{"mood": "{first}', name="look"),
        called(f'{second}"}}'),
        delta(finish="tool_calls"),
    )

    texts = [each for each in pieces if isinstance(each, Piece)]
    arguments = [each.arguments for each in pieces if isinstance(each, ToolCallPiece)]
    assert "".join(each.reasoning for each in texts) == "hm 😀!"
    assert "".join(each.text for each in texts) == "smile 😀 end"
    assert "".join(arguments) == '{"mood": "😀"}'
    assert all(each.encode() is not None for each in arguments)


def test_half_a_character_at_the_end_of_arguments_is_replaced_and_not_lost() -> None:
    pieces, _ = read(called(f'{{"a": "{HALVES[0]}', name="look"), delta(finish="tool_calls"))

    assert "".join(each.arguments for each in pieces if isinstance(each, ToolCallPiece)) == '{"a": "\ufffd'


def test_an_answer_in_parts_is_its_text_and_what_the_model_thinks() -> None:
    pieces, _ = read(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]),
        delta(content=[{"type": "text", "text": "Press "}, {"type": "text", "text": "reset."}]),
        delta(finish="stop"),
    )

    assert pieces == [Piece(reasoning="Hm."), Piece(text="Press reset.")]


@pytest.mark.parametrize(
    ("part", "named"), [({"type": "image_url"}, "image_url"), ({"type": "<secret>"}, "parts that are no text")]
)
def test_parts_that_are_no_text_are_named_and_not_quoted(part: dict[str, str], named: str) -> None:
    with pytest.raises(NotHandedOnError, match=f"^{named}$"):
        read(delta(content=[part]))


@pytest.mark.parametrize("count", [10**12, 2**31, -1, True, 1.5, "7", None, [1]])
def test_a_count_of_tokens_that_is_none_is_unknown(count: object) -> None:
    _, (finish,) = read(
        delta(content="yes", finish="stop"),
        {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": count}},
    )

    assert (finish.input_tokens, finish.output_tokens) == (0, 0)
