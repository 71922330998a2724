import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict

from services.ingest.tests.datasets.examples import examples, message
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.domain.parts import masked as masked_by
from tidemill_ingest.datasets.masking import ProcessExampleMasking, mask_examples
from tidemill_ingest.processes import Processes


@asynccontextmanager
async def started(*, cpu_s: float = 60.0) -> AsyncIterator[ProcessExampleMasking]:
    processes = Processes(workers=1, cpu_s=cpu_s, wall_s=60.0)
    masking = ProcessExampleMasking(processes, phone_regions=("US",))
    await masking.mask_examples("acme", examples([message("Q?", "A")]))  # which starts the process and its imports
    try:
        yield masking
    finally:
        await processes.stop()


@pytest.fixture
async def masking() -> AsyncIterator[ProcessExampleMasking]:
    async with started() as masking:
        yield masking


async def test_examples_are_masked_in_another_process_whatever_their_size(masking: ProcessExampleMasking) -> None:
    offered = [message(f"Mail user{n}@acme.example {n}?", f"{n} " + "x" * 400_000) for n in range(5)]

    masked = await masking.mask_examples("acme", examples(offered))

    assert [each.question for each in masked] == [f"Mail [EMAIL] {n}?" for n in range(5)]
    assert [each.id for each in masked] == [each.id for each in offered]
    assert not any("acme" in each.line for each in masked)


async def test_an_example_that_takes_too_much_work_is_left_out_and_its_batch_is_not() -> None:
    offered = [message("Q1?", "A"), message("Q2?", "a@b " * 2_000_000), message("Q3?", "B")]
    async with started(cpu_s=0.5) as impatient:
        masked = await impatient.mask_examples("acme", examples(offered))

    assert [each.question for each in masked] == ["Q1?", "Q3?"]


def tries(folder: Path) -> int:
    return len(list(folder.iterdir()))


def die_at_first(times: int, folder: Path, examples: Sequence[Example], regions: Sequence[str]) -> Sequence[Example]:
    tried = tries(folder)
    (folder / str(tried)).touch()
    if tried < times:
        os._exit(7)
    return mask_examples(examples, regions)


async def test_examples_whose_masking_broke_are_masked_again(
    masking: ProcessExampleMasking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tidemill_ingest.datasets.masking.mask_examples", partial(die_at_first, 2, tmp_path))

    [masked] = await masking.mask_examples("acme", examples([message("Mail ada@acme.example?", "A")]))

    assert masked.question == "Mail [EMAIL]?"


async def test_an_example_whose_masking_breaks_each_time_is_left_out(
    masking: ProcessExampleMasking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tidemill_ingest.datasets.masking.mask_examples", partial(die_at_first, 99, tmp_path))

    assert not await masking.mask_examples("acme", examples([message("Secret?", "A")]))

    assert tries(tmp_path) == 3


NAMES = {
    *("id", "inference", "feedback", "end_user", "asked_by", "principals[]"),
    *(f"passages[].{each}" for each in ("document", "source", "key", "uri", "also_in[]", "collection")),
}
"""The strings of an example that are no texts of people, besides ids within a message."""


def filled(of: Descriptor, depth: int = 0) -> dict[str, Any]:
    """Return a message with a text in each of its strings; nested ones to some depth."""
    written, chosen = dict[str, Any](), set[str]()
    for each in of.fields:
        oneof = each.containing_oneof.name if each.containing_oneof else ""
        if each.message_type is not None:
            inner = each.message_type
            if inner.full_name == "google.protobuf.Struct":
                value: Any = {"id": "Ada", "deep": ["Ada", {"role": "Ada"}]}
            elif depth > 3 or inner.full_name.startswith("google."):
                continue
            else:
                value = filled(inner, depth + 1)
        elif each.type == FieldDescriptor.TYPE_STRING:
            value = "Ada"
        else:
            continue
        if oneof and not oneof.startswith("_"):
            if oneof in chosen:
                continue
            chosen.add(oneof)
        written[each.name] = [value] if each.is_repeated else value
    return written


def strings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield place, value
    for name, each in value.items() if isinstance(value, dict) else ():
        yield from strings(each, f"{place}.{name}".lstrip("."))
    for each in value if isinstance(value, list) else ():
        yield from strings(each, f"{place}[]")


def test_every_string_of_an_example_is_masked_but_names_that_the_platform_gives() -> None:
    written = filled(ExampleMessage.DESCRIPTOR)
    example = examples([ParseDict(written, ExampleMessage())])[0]

    line = json.loads(masked_by(example, lambda text: text.replace("Ada", "[NAME]")).line)

    kept = {place for place, value in strings(line) if value == "Ada"}
    assert {each for each in kept if not each.endswith((".id", ".passage"))} == NAMES
    assert line["cohort"] == "[NAME]"
    assert line["variables"] == {"id": "[NAME]", "deep": ["[NAME]", {"role": "[NAME]"}]}
    assert line["output"]["parts"][0]["text"] == "[NAME]"
