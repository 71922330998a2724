"""Prompts that are compared from the command line, before one of them is saved."""

import asyncio
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.prompt_answers import PromptAnswers
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_FAILED
from tidemill.evaluator.v1.prompt_test_pb2 import PromptText
from tidemill.evaluator.v1.suite_pb2 import Case, Suite

TEST = ("prompts", "test", "truth")


@pytest.fixture(autouse=True)
def _declared(running: Running, prompted: PromptAnswers) -> None:
    prompted.declare(running)


async def test_every_prompt_is_asked_by_every_model_and_the_first_is_compared_with(
    terminal: Terminal, prompted: PromptAnswers
) -> None:
    arguments = ("--prompt", "live", "--prompt", "answer@next", "--model", "live", "--model", "m@7")

    said = await asyncio.to_thread(terminal, *TEST, *arguments, "--metric", "judge:tone", "--max-cases", "5")

    (request,) = prompted.started
    assert [(each.name, each.prompt, each.model) for each in request.variants] == [
        ("answer@1, small@1", "", ""),
        ("answer@1, m@7", "", "m@7"),
        ("answer@2, small@1", "answer@2", ""),
        ("answer@2, m@7", "answer@2", "m@7"),
    ]
    assert (request.suite, request.max_cases, list(request.metrics)) == ("truth", 5, ["judge:tone"])
    assert said.code == 0, said.text
    assert "[+0.02, +0.2] better" in said.text
    assert "1 of answer@2, small@1 (PROMPT_REFUSED)" in said.text


async def test_a_prompt_of_a_file_is_sent_and_saved_nowhere(
    terminal: Terminal, prompted: PromptAnswers, tmp_path: Path
) -> None:
    (tmp_path / "short.jinja").write_text("Short: {{ question }}", encoding="utf-8")
    (tmp_path / "both.user.jinja").write_text("User: {{ question }}", encoding="utf-8")
    (tmp_path / "both.system.jinja").write_text("System.", encoding="utf-8")
    arguments = ("--prompt", f"file:{tmp_path / 'short.jinja'}", "--prompt", f"file:{tmp_path / 'both'}")

    said = await asyncio.to_thread(terminal, *TEST, *arguments, "--temperature", "0", "--max-output-tokens", "50")

    (request,) = prompted.started
    assert [each.unsaved for each in request.variants] == [
        PromptText(user="Short: {{ question }}", system="Be kind.", variables_schema='{"type": "object"}'),
        PromptText(user="User: {{ question }}", system="System.", variables_schema='{"type": "object"}'),
    ]
    assert (request.variants[0].sampling.temperature, request.variants[0].sampling.max_output_tokens) == (0.0, 50)
    assert request.variants[0].sampling.HasField("temperature")
    assert said.code == 0, said.text


async def test_a_long_path_is_named_by_its_last_part(
    terminal: Terminal, prompted: PromptAnswers, tmp_path: Path
) -> None:
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    (folder / "short.jinja").write_text("Short: {{ question }}", encoding="utf-8")

    said = await asyncio.to_thread(terminal, *TEST, "--prompt", f"file:{folder / 'short.jinja'}")

    assert said.code == 0, said.text
    assert [each.name for each in prompted.started[0].variants] == ["file:short.jinja"]


async def test_a_template_that_fails_is_refused_before_anything_is_asked(
    terminal: Terminal, running: Running, prompted: PromptAnswers, tmp_path: Path
) -> None:
    (tmp_path / "broken.jinja").write_text("{% if %}{{ question }}", encoding="utf-8")

    said = await asyncio.to_thread(terminal, *TEST, "--prompt", f"file:{tmp_path / 'broken.jinja'}")

    assert (said.code, prompted.started, running.keepers["prompt"].written) == (1, [], [])
    assert "content.user: line 1: expected an expression" in said.text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--prompt", "answer@9"), "has no '9': it has versions 1 to 3, next"),
        (("--prompt", "file:absent.jinja"), "absent.jinja cannot be read: No such file"),
        (("--deployment", "wiki"), "there is no wiki"),
    ],
)
async def test_what_is_not_there_is_named(
    terminal: Terminal, prompted: PromptAnswers, arguments: tuple[str, ...], text: str
) -> None:
    said = await asyncio.to_thread(terminal, *TEST, *arguments)

    assert (said.code, prompted.started) == (1, [])
    assert text in " ".join(said.text.split())


async def test_a_slice_of_the_suite_is_asked_by_its_labels(
    terminal: Terminal, running: Running, prompted: PromptAnswers
) -> None:
    cases = [
        Case(id=f"c{number}", question="what?", reference="that", labels={"language": "de" if number % 2 else "en"})
        for number in range(6)
    ]
    running.keepers["suite"].stored["truth"] = Suite(id="truth", cases=cases)

    whole = await asyncio.to_thread(terminal, *TEST, "--label", "language=de")
    sample = await asyncio.to_thread(terminal, *TEST, "--label", "language=de", "--max-cases", "2")
    none = await asyncio.to_thread(terminal, *TEST, "--label", "language=fr")

    assert (whole.code, sample.code, none.code) == (0, 0, 1)
    first, second = prompted.started
    assert (set(first.cases), first.max_cases) == ({"c1", "c3", "c5"}, 0)
    assert (len(second.cases), set(second.cases) < set(first.cases), second.max_cases) == (2, True, 0)
    assert "no case of suite truth has these labels" in none.text


async def test_a_failed_test_exits_with_an_error(terminal: Terminal, prompted: PromptAnswers) -> None:
    prompted.state = EVALUATION_STATE_FAILED

    waited = await asyncio.to_thread(terminal, *TEST)
    begun = await asyncio.to_thread(terminal, *TEST, "--no-wait", "--json")

    assert (waited.code, begun.code) == (1, 0)
    assert begun.data["id"] == "t1"


async def test_a_report_has_all_answers_and_runs_nothing(
    terminal: Terminal, prompted: PromptAnswers, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"

    said = await asyncio.to_thread(terminal, *TEST, "--prompt", "live", "--prompt", "answer", "--html", str(page))

    html = page.read_text(encoding="utf-8")
    assert said.code == 0, said.text
    assert "what is 1 &amp; 2?" in html
    assert "&lt;b&gt;answer 1&lt;/b&gt;" in html
    assert "<script" not in html
    assert [each.name for each in prompted.started[0].variants] == ["answer@1", "answer@3"]


async def test_tests_are_listed_shown_and_cancelled(terminal: Terminal, prompted: PromptAnswers) -> None:
    assert prompted.test.id == "t1"

    listed = await asyncio.to_thread(terminal, "prompts", "tests")
    shown = await asyncio.to_thread(terminal, "prompts", "results", "t1", "--limit", "1")
    programs = await asyncio.to_thread(terminal, "prompts", "results", "t1", "--json")
    cancelled = await asyncio.to_thread(terminal, "prompts", "cancel", "t1")

    assert (listed.code, shown.code, cancelled.code) == (0, 0, 0)
    assert "truth" in listed.text
    assert "c1: what is 1 & 2?" in shown.text
    assert "<b>answer 0</b>" in shown.text
    assert programs.data["results"][0]["case"] == "c1"


async def test_a_question_is_tried_side_by_side_without_a_test(terminal: Terminal, prompted: PromptAnswers) -> None:
    arguments = ("prompts", "try", "What?", "--prompt", "live", "--prompt", "answer@2", "--prompt", "answer@3")

    people = await asyncio.to_thread(terminal, *arguments, "--variables", '{"tone": "dry"}')
    programs = await asyncio.to_thread(terminal, *arguments, "--json")
    none = await asyncio.to_thread(terminal, "prompts", "try", "What?", "--prompt", "answer@2")
    wrong = await asyncio.to_thread(terminal, "prompts", "try", "What?", "--variables", "[]")

    assert (people.code, programs.code, none.code, wrong.code) == (0, 0, 1, 1)
    for text in (
        "by the live prompt",
        "by answer@3",
        "2.0 s, 12 + 3 tokens",
        "failed: variables: tone is not declared",
    ):
        assert text in people.text
    assert [each["variant"] for each in programs.data] == ["answer@1", "answer@2", "answer@3"]
    assert [bool(each["failure"]) for each in programs.data] == [False, True, False]
    assert prompted.asked[0].variables.fields["tone"].string_value == "dry"
    assert not prompted.started


async def test_the_platform_has_more_than_one_deployment(
    terminal: Terminal, running: Running, prompted: PromptAnswers
) -> None:
    stored = running.keepers["deployment"].stored
    stored["sales"] = type(stored["helpdesk"])(id="sales")

    said = await asyncio.to_thread(terminal, *TEST)
    both = await asyncio.to_thread(terminal, *TEST, "--deployment", "helpdesk", "--deployment", "sales")

    assert said.code == 1
    assert "deployment: is required: the project has helpdesk, sales" in " ".join(said.text.split())
    assert both.code == 0
    assert [each.deployment for each in prompted.started[0].variants] == ["helpdesk", "sales"]
