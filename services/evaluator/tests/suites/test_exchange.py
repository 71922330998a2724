"""Cases with their context, from suites and held-out splits."""

from dataclasses import replace

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import BUCKET, DATASETS, cases, example
from services.evaluator.tests.harness import exchange_cases
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, Context, Role, Turn
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.loop_lag import loop_lag
from tidemill_testkit.objects import InMemoryObjects

CONTEXT = Context(
    earlier=(
        Turn(Role.SYSTEM, "Be short."),
        Turn(Role.USER, "What does topic 4 cost?"),
        Turn(Role.ASSISTANT, "4 euros."),
    ),
    variables={"product": "topic", "amounts": [1.0, 2.0]},
    principals=("staff",),
)


def turn(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=text)])


async def held_out(*examples: curation_pb2.Example) -> list[Case]:
    objects = InMemoryObjects(BUCKET, DATASETS)
    data = "\n".join(MessageToJson(each, indent=None, preserving_proto_field_name=True) for each in examples).encode()
    content = await ExchangeBucket(objects, DATASETS).put("acme", "sft", data, media_type="application/jsonl")
    case_set = CaseSet(dataset="sft", number=1, size=len(examples), content=content)
    return list(await exchange_cases(objects).read("acme", case_set))


async def test_a_suite_gives_back_turns_variables_and_readers() -> None:
    objects = InMemoryObjects(BUCKET, DATASETS)
    stored = exchange_cases(objects)
    given = [Case(id="c1", question="And for 4 companies?", reference="16 euros.", context=CONTEXT), *cases(3)[1:]]
    given[2] = replace(given[2], reference="", code_tests="assert f(1) == 2\n")

    content = await stored.put("acme", "truth", given)

    assert await stored.read("acme", CaseSet(suite="truth", number=1, size=3, content=content)) == given


@pytest.mark.heavy
async def test_a_large_held_out_split_does_not_hold_the_event_loop() -> None:
    objects, count = InMemoryObjects(BUCKET, DATASETS), 15_000
    output = '{"role": "ROLE_ASSISTANT", "parts": [{"text": "16 euros."}]}'
    lines = (f'{{"id": "c{number}", "question": "And for {number}?", "output": {output}}}' for number in range(count))
    content = await ExchangeBucket(objects, DATASETS).put(
        "acme", "sft", "\n".join(lines).encode(), media_type="application/jsonl"
    )

    async with loop_lag() as lag:
        read = await exchange_cases(objects).read(
            "acme", CaseSet(dataset="sft", number=1, size=100, whole=count, content=content)
        )

    assert len(read) == 100
    assert lag.worst_s < 0.2


async def test_a_held_out_case_is_asked_with_what_it_was_asked_with() -> None:
    line = example(Case(id="c1", question="And for 4 companies?", reference="16 euros."))
    line.earlier.extend(
        [
            turn(content_pb2.ROLE_SYSTEM, "Be short."),
            turn(content_pb2.ROLE_USER, "What does topic 4 cost?"),
            turn(content_pb2.ROLE_ASSISTANT, "4 euros."),
        ]
    )
    line.variables.update({"product": "topic", "amounts": [1, 2]})
    line.principals.append("staff")

    (case,) = await held_out(line)

    assert case.context == CONTEXT


async def test_of_a_line_that_does_not_say_what_was_asked_before_the_turns_are_those_of_its_prompt() -> None:
    line = example(Case(id="c1", question="And for 4 companies?", reference="16 euros."))
    line.messages.extend(
        [
            turn(content_pb2.ROLE_SYSTEM, "Answer in one short sentence."),
            turn(content_pb2.ROLE_USER, "What does topic 4 cost?"),
            turn(content_pb2.ROLE_ASSISTANT, "4 euros."),
            turn(content_pb2.ROLE_USER, "[1] Topic 4: 4 euros each.\nQuestion: And for 4 companies?"),
        ]
    )

    (case,) = await held_out(line)

    assert case.context == Context(earlier=CONTEXT.earlier[1:])
