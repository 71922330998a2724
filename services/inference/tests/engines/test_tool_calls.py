"""Calls of tools in what a model writes."""

from itertools import pairwise

import pytest

from tidemill_inference.engines.tool_calls import FORMATS, Call, ToolCallReader, ToolFormat

HERMES = FORMATS[0]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ky<i>v"}}\n</tool_call>'


def read(text: str, *, size: int = 1, single: bool = False) -> list[str | tuple[str, str]]:
    """Return the text and the calls in it, fed in pieces of a size."""
    reader = ToolCallReader(HERMES, allowed={"weather", "clock"}, single=single)
    found: list[str | Call] = []
    bounds = [*range(0, len(text), size), len(text)]
    for begin, end in pairwise(bounds):
        found += reader.feed(text[begin:end])
    found += reader.end()
    joined: list[str | tuple[str, str]] = []
    for each in found:
        if isinstance(each, Call):
            joined.append((each.name, each.arguments))
        elif joined and isinstance(joined[-1], str):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_text_and_calls_are_separated_however_they_come(size: int) -> None:
    text = f"Let me see < that.\n\n{CALL}\n{CALL}\n"

    call = ("weather", '{"city": "Ky<i>v"}')
    assert read(text, size=size) == ["Let me see < that.", call, call]


@pytest.mark.parametrize("text", ["plain\n", "a <tool_ca", " <b>x</b> ", "{}\n\n"])
def test_text_without_calls_stays_as_it_is(text: str) -> None:
    assert "".join(map(str, read(text))) == text


@pytest.mark.parametrize(
    "inside",
    [
        "nonsense",
        '{"name": "volcano", "arguments": {}}',
        '["weather"]',
        '{"name": "weather", "arguments": {"x": NaN}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_call_of_a_tool_stays_text(inside: str) -> None:
    text = f"<tool_call>{inside}</tool_call>"

    assert read(text, size=1000) == [text]


def test_a_call_that_was_cut_off_is_handed_on_as_far_as_it_came() -> None:
    assert read(CALL[:50]) == [("weather", '{"cit')]
    for end in range(1, len("}\n</tool_call>")):
        assert read(CALL[:-end]) == [("weather", '{"city": "Ky<i>v"}')]
    assert read("<tool_call>\n{") == []
    assert read("<tool_call> {maybe") == ["<tool_call> {maybe"]


def test_nothing_is_read_after_a_single_call() -> None:
    assert read(f"{CALL}\n{CALL} more", single=True) == [("weather", '{"city": "Ky<i>v"}')]


def test_each_call_has_an_id_of_its_own() -> None:
    reader = ToolCallReader(HERMES, allowed={"weather"}, single=False)

    calls = [each for each in reader.feed(CALL + CALL) if isinstance(each, Call)]

    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{% if tools %}{{ tools | tojson }} use <tool_call>{% endif %}", "hermes"),
        ("{% for m in messages %}<tool_call>{{ m.content }}{% endfor %}", None),
        ("{% if tools %}[TOOL_CALLS]{% endif %}", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
    ],
)
def test_a_format_is_known_by_its_template(template: str, found: str | None) -> None:
    how = ToolFormat.of(template, {})

    assert (how.name if how else None) == found
