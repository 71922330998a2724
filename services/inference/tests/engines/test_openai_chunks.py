"""What servers send in the chunks of an answer, beside what they should."""

from typing import Any

import pytest

from tidemill_inference.engines.openai_chunks import Chunks, NotHandedOnError
from tidemill_inference.engines.ports import Finish, Piece, ProviderIdentity, ToolCallPiece

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


def test_the_last_names_that_an_answer_says_are_what_made_it() -> None:
    named = {"model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1"}
    _, finishes = read(
        delta(content="yes") | {"model": ""}, delta(finish="stop") | named, {"choices": [], "system_fingerprint": None}
    )

    assert [each.identity for each in finishes] == [
        ProviderIdentity(provider_model="gpt-4o-2024-08-06", system_fingerprint="fp_1")
    ]


@pytest.mark.parametrize("said", [{}, {"model": 7, "system_fingerprint": ["fp"]}, {"model": ""}])
def test_an_answer_that_does_not_say_what_made_it_has_no_identity(said: dict[str, Any]) -> None:
    _, finishes = read(delta(content="yes") | said, delta(finish="stop"))

    assert [each.identity for each in finishes] == [None]


@pytest.mark.parametrize("said", ["what the user asked for", "m" * 129, "line\nbreak", "\ud83d"])
def test_what_could_be_a_text_is_kept_as_its_digest_alone(said: str) -> None:
    _, (first,) = read(delta(finish="stop") | {"system_fingerprint": said})
    _, (other,) = read(delta(finish="stop") | {"system_fingerprint": f"{said}!"})

    assert first.identity
    assert other.identity
    assert first.identity.system_fingerprint.startswith("sha256:")
    assert said not in first.identity.system_fingerprint
    assert first.identity != other.identity
