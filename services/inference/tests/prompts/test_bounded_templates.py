"""Prompts that a project wrote to take everything: they end alone, and the event loop goes on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tidemill_core.errors import InvalidInput
from tidemill_inference.prompts.bounded_templates import IMPORTS, BoundedTemplates
from tidemill_inference.prompts.domain.errors import PromptRefused
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import PromptInput
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_testkit.loop_lag import loop_lag

LIMITS = ProcessLimits(workers=2, cpu_s=0.3, wall_s=20, memory_bytes=512 << 20, share=1, waiting=3)
PLAIN = PromptContent(user="{{ question }}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[BoundedTemplates]:
    made = BoundedTemplates(BoundedProcesses(LIMITS, "prompts", IMPORTS))
    await made.start()
    yield made
    await made.stop()


def schema(**prop: object) -> str:
    return json.dumps({"type": "object", "properties": {"a": prop}})


@pytest.mark.asyncio(loop_scope="module")
async def test_prompts_are_checked_and_rendered_as_in_this_process(shared: BoundedTemplates) -> None:
    content = PromptContent(user="{{ a }}: {{ question }}", system="Be brief.", variables_schema=schema(type="string"))

    checked = await shared.check("acme", content)
    await shared.check_variables("acme", content, {"a": "x"})
    messages = await shared.render("acme", content, PromptInput(question="why?", variables={"a": "x"}))

    assert checked.content == content
    assert [message.text for message in messages] == ["Be brief.", "x: why?"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "user",
    [
        "{% for a in question %}{% for b in question %}{% endfor %}{% endfor %}x",
        "{% for a in range(100) %}{% for c in question %}{{ c }}{% endfor %}{% endfor %}",
        "{% set a='x' %}" + "{% set a=a~a %}" * 40 + "{{ a|length }}",
        "{% set l=[1] %}" + "{% set l=l+l %}" * 40 + "{{ l|length }}",
        "{{ question.join(question)|length }}",
        "{{ question|replace('a', question)|length }}",
        "{{ question|join(question)|length }}",
        "{% for a in question|sort %}{% for b in question|sort %}{% endfor %}{% endfor %}",
        "{{ (question|list)|sum(start=[]) }}",
        "{{ loop(1) }}",
        "{% for a in question %}{{ question|unique|list|length }}{% endfor %}",
    ],
)
async def test_a_template_that_takes_too_much_is_ended_and_the_loop_goes_on(
    shared: BoundedTemplates, user: str
) -> None:
    given = PromptInput(question="a" * 9000)

    async with loop_lag() as lag:
        with suppress(InvalidInput):
            await shared.render("evil", PromptContent(user=user), given)
        await shared.render("acme", PLAIN, given)

    assert lag.worst_s < 0.2
    assert lag.turns


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("prop", "value"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 5000 + "!"),
        ({"type": "string", "pattern": "^(a|a)*$"}, "a" * 5000 + "!"),
        ({"$ref": "#/properties/a"}, 1),
        ({"patternProperties": {"^(a+)+$": {"type": "string"}}}, {"a" * 30 + "!": 1}),
    ],
)
async def test_a_schema_that_takes_too_much_is_ended_and_the_loop_goes_on(
    shared: BoundedTemplates, prop: dict[str, object], value: object
) -> None:
    content = PromptContent(user="{{ a }}", variables_schema=schema(**prop))

    async with loop_lag() as lag:
        with pytest.raises(InvalidInput):
            await shared.check_variables("evil", content, {"a": value})
        await shared.check_variables("acme", PLAIN, {})

    assert lag.worst_s < 0.2


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (PromptContent(user="{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}"), "nested too deep"),
        (PromptContent(user="{% if 1 %}" * 150 + "{% endif %}" * 150), "nested too deep"),
        (PromptContent(user="{% for a in [1] recursive %}{% endfor %}"), "recursive"),
        (PromptContent(user="x", variables_schema="[" * 60_000), "nested too deep"),
        (PromptContent(user="x", variables_schema='{"not":' * 2000 + "{}" + "}" * 2000), "nested too deep"),
        (PromptContent(user="x", variables_schema='{"$ref": "#"}'), "refers to itself"),
        (PromptContent(user="x", variables_schema=schema(pattern="(?=a)b")), "RE2"),
        (PromptContent(user="x", variables_schema=schema(pattern=r"(a)\1")), "RE2"),
        (PromptContent(user="x", variables_schema=schema(patternProperties={"a": {}})), "patternProperties"),
        (PromptContent(user="x", variables_schema='{"$ref": "http://127.0.0.1/x"}'), "cannot be resolved"),
    ],
)
async def test_what_is_nested_too_deep_or_leads_into_itself_is_refused_by_its_field(
    shared: BoundedTemplates, content: PromptContent, why: str
) -> None:
    with pytest.raises(PromptRefused, match=why) as refused:
        await shared.check("acme", content)
    assert refused.value.violations


@pytest.mark.asyncio(loop_scope="module")
async def test_a_project_waits_for_its_own_prompts_and_no_other_one_does(shared: BoundedTemplates) -> None:
    slow = PromptContent(user="{% for a in question %}{% for b in question %}{% endfor %}{% endfor %}x")
    given = PromptInput(question="a" * 9000)
    evil = [asyncio.create_task(shared.render("evil", slow, given)) for _ in range(10)]
    await shared.render("acme", PLAIN, given)
    under_way = [task for task in evil if not task.done()]
    ended = await asyncio.gather(*evil, return_exceptions=True)

    assert under_way  # no other project waited for all of them
    assert sorted({type(each).__name__ for each in ended}) == ["PromptRefused", "RateLimited"]


def test_a_process_for_prompts_loads_no_models() -> None:
    script = (
        "import runpy, sys; runpy.run_module('tidemill_inference', run_name='__mp_main__');"
        "import tidemill_inference.prompts.bounded_templates;"
        "print(sorted({'torch', 'grpc', 'motor'} & set(sys.modules)))"
    )
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert run.stdout.strip() == "[]"
