"""What an event's body may cost, whatever is in it."""

import pytest
from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr

from tidemill_kit.events.bodies import MAX_VALUES, InvalidBody, body_of
from tidemill_testkit.processor_time import processor_time


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: StrictStr = ""
    facts: dict[StrictStr, StrictBool | StrictStr | StrictInt | StrictFloat] = {}
    readers: list[StrictStr] = []
    children: list["Page"] = []


def repeated(before: str, each: str, after: str, *, times: int) -> bytes:
    if "#" not in each:
        return (before + ",".join([each] * times) + after).encode()
    return (before + ",".join(each.replace("#", str(number)) for number in range(times)) + after).encode()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("before", "each", "after", "times"),
    [
        pytest.param('{"facts":{', '"#":[]', "}}", 90_000, id="wrong facts"),
        pytest.param('{"readers":[', "0", "]}", 450_000, id="wrong readers"),
        pytest.param("{", '"#":0', "}", 90_000, id="unknown names"),
        pytest.param('{"readers":[', '""', "]}", 300_000, id="right readers"),
        pytest.param('{"children":[', "{}", "]}", 300_000, id="children"),
        pytest.param('{"children":[', '{"children":[{"text":0},{"text":0}]}', "]}", 25_000, id="deep children"),
        pytest.param("[", "0", "]", 450_000, id="a list alone"),
    ],
)
def test_a_large_body_of_many_values_is_refused_for_little_work(before: str, each: str, after: str, times: int) -> None:
    body = repeated(before, each, after, times=times)
    with processor_time() as spent, pytest.raises(InvalidBody, match=f"body: has more than {MAX_VALUES} values"):
        body_of(Page, body)

    assert spent.seconds < 0.6  # 0.03 to 0.1 s; listing every error took 1.3 s


def test_a_text_with_many_commas_and_brackets_is_one_value() -> None:
    text = ",[{" * 100_000
    assert body_of(Page, f'{{"text": "{text}"}}'.encode()).text == text


def test_values_are_counted_exactly() -> None:
    assert len(body_of(Page, repeated('{"readers":[', '"#"', "]}", times=MAX_VALUES - 1)).readers) == MAX_VALUES - 1
    with pytest.raises(InvalidBody, match="more than"):
        body_of(Page, repeated('{"readers":[', '"#"', "]}", times=MAX_VALUES))


@pytest.mark.parametrize("data", [b"[" * 100_000, b"7" + b"," * 100_000, b'"' + b"," * 100_000 + b'"', b"\xff,"])
def test_what_is_no_body_is_refused_by_the_model(data: bytes) -> None:
    with pytest.raises(InvalidBody, match="body: "):
        body_of(Page, data)
