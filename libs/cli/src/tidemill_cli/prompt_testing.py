"""prompts test, try: the same questions answered by several prompts, models and temperatures, side by side."""

import asyncio
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.prompt_test_pb2 import PromptResult, PromptTest
from tidemill_cli.html_pages import html_page
from tidemill_cli.options import labels_of, options
from tidemill_cli.output import EXIT_ERROR, call, moment, plain, progress, show, stdout, table, word, writing
from tidemill_cli.prompt_figures import answer_tables, html_report, picture
from tidemill_cli.prompt_grids import AskedGrid
from tidemill_client.connection import Connection
from tidemill_client.declared import Suites
from tidemill_client.prompt_tests import PromptTests, TriedQuestion, Variant
from tidemill_core.errors import InvalidInput, TidemillError

DeploymentOption = Annotated[
    list[str] | None, typer.Option("--deployment", "-d", help="The deployment; default: the only one. Repeatable.")
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        help="live, name, name@version, name@label, or file:PATH of a prompt that is not saved. Repeatable.",
    ),
]
ModelOption = Annotated[list[str] | None, typer.Option("--model", help="live, model, or model@version. Repeatable.")]
TemperatureOption = Annotated[
    list[float] | None, typer.Option("--temperature", min=0, max=2, help="Of sampling. Repeatable.")
]
TokensOption = Annotated[int, typer.Option("--max-output-tokens", min=0, help="Of each answer; 0: as deployed.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write a report with all answers to this file.")]
_SHOWN = 1000
"""Cases in a report."""


def compare_prompts(
    suite: Annotated[str, typer.Argument(help="The suite whose cases are asked.")],
    *,
    deployment: DeploymentOption = None,
    prompt: PromptOption = None,
    model: ModelOption = None,
    temperature: TemperatureOption = None,
    max_output_tokens: TokensOption = 0,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="A further metric. Repeatable.")] = None,
    max_cases: Annotated[int, typer.Option("--max-cases", min=0, help="A sample of the suite; 0 takes all.")] = 0,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Only cases with this label, name=value. Repeatable.")
    ] = None,
    html: HtmlOption = None,
    wait: Annotated[bool, typer.Option(help="Wait for the figures.")] = True,
) -> None:
    """Ask the cases of a suite of every prompt by every model by every temperature, and compare the answers.

    The first of each is what the others are compared with. Exit 1 if the test fails.
    """
    asked = AskedGrid(
        deployments=deployment or (),
        prompts=prompt or (),
        models=model or (),
        temperatures=temperature or (),
        max_output_tokens=max_output_tokens,
    )

    async def work(connection: Connection) -> tuple[PromptTest, list[PromptResult]]:
        tests = PromptTests(connection)
        cases = await _labelled(connection, suite, labels_of(label), most=max_cases) if label else []
        started = await tests.start(
            await asked.variants(connection),
            suite=suite,
            cases=cases,
            metrics=metric or (),
            max_cases=0 if cases else max_cases,
        )
        if not wait:
            return started, []
        ended = await _followed(tests, started.id)
        return ended, await _results(tests, ended.id) if html else []

    _show(*call(work), html=html, failed=wait)


def try_prompts(
    question: Annotated[str, typer.Argument(help="The question.")],
    *,
    deployment: DeploymentOption = None,
    prompt: PromptOption = None,
    model: ModelOption = None,
    temperature: TemperatureOption = None,
    max_output_tokens: TokensOption = 0,
    variables: Annotated[str, typer.Option("--variables", help="What the prompt's schema asks for, as JSON.")] = "",
) -> None:
    """Ask one question of every prompt by every model by every temperature, side by side; no test is stored."""
    asked = AskedGrid(
        deployments=deployment or (),
        prompts=prompt or (),
        models=model or (),
        temperatures=temperature or (),
        max_output_tokens=max_output_tokens,
    )

    async def work(connection: Connection) -> list[dict[str, Any]]:
        tried = TriedQuestion(question=question, variables=_variables(variables))
        return await _tried(PromptTests(connection), await asked.variants(connection), tried)

    answers = call(work)
    if options().as_json:
        show(answers, "")
    if all(each["failure"] for each in answers):
        raise typer.Exit(EXIT_ERROR)


def list_tests(
    suite: Annotated[str, typer.Option("--suite", "-s", help="Of this suite alone.")] = "",
) -> None:
    """List the project's tests, oldest first."""

    async def work(connection: Connection) -> list[PromptTest]:
        return [each async for each in PromptTests(connection).all(suite=suite)]

    tests = call(work)
    rows = [
        (
            each.id,
            word(EvaluationState, each.state),
            each.suite or "own questions",
            ", ".join(variant.name for variant in each.variants),
            f"{each.answered}/{each.cells}",
            moment(each.create_time),
        )
        for each in tests
    ]
    columns = ("test", "state", "suite", "variants", "answers", "started")
    show([plain(each) for each in tests], table(columns, rows))


def show_results(
    name: Annotated[str, typer.Argument(help="The test's id.")],
    *,
    metric: Annotated[str, typer.Option("--metric", help="Cases with the lowest values of this one first.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=_SHOWN, help="So many cases.")] = 5,
    html: HtmlOption = None,
) -> None:
    """Show the figures of a test, and the answers to the cases where they are worst, all variants side by side."""

    async def work(connection: Connection) -> tuple[PromptTest, list[PromptResult]]:
        tests = PromptTests(connection)
        most = _SHOWN if html else limit
        return await tests.get(name), await _results(tests, name, metric=metric, most=most)

    _show(*call(work), html=html, failed=False, limit=limit)


def cancel_test(name: Annotated[str, typer.Argument(help="The test's id.")]) -> None:
    """Cancel a test that is running."""
    _show(call(lambda connection: PromptTests(connection).cancel(name)), [], html=None, failed=False)


async def _labelled(connection: Connection, suite: str, labels: Mapping[str, str], *, most: int) -> list[str]:
    """Return the ids of the cases with all these labels, or of a sample of them.

    Raises:
        InvalidInput: no case has them.

    """
    cases = (await Suites(connection).get(suite)).cases
    found = [each.id for each in cases if labels.items() <= dict(each.labels).items()]
    if not found:
        raise InvalidInput.at(field="label", text=f"no case of suite {suite} has these labels: leave one out")
    return sorted(found, key=lambda each: sha256(each.encode()).digest())[: most or None]


async def _followed(tests: PromptTests, name: str) -> PromptTest:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)

        def advance(found: PromptTest) -> None:
            text = found.message or f"{word(EvaluationState, found.state)}, answers"
            bar.update(task, description=text, completed=found.answered, total=found.cells or None)

        return await tests.wait(name, watch=advance)


async def _results(tests: PromptTests, name: str, *, metric: str = "", most: int = _SHOWN) -> list[PromptResult]:
    found = list[PromptResult]()
    if not most:
        return found
    async for each in tests.results(name, metric=metric):
        found.append(each)
        if len(found) == most:
            break
    return found


def _show(test: PromptTest, results: list[PromptResult], *, html: Path | None, failed: bool, limit: int = 0) -> None:
    if html is not None:
        with writing(html):
            html.write_text(html_page(f"Prompt test {test.id}", html_report(test, results)), encoding="utf-8")
    shown = results[:limit]
    show({**plain(test), "results": [plain(each) for each in shown]}, Group(picture(test), *answer_tables(test, shown)))
    if failed and test.state != EvaluationState.EVALUATION_STATE_COMPLETED:
        raise typer.Exit(EXIT_ERROR)


async def _tried(tests: PromptTests, variants: list[Variant], question: TriedQuestion) -> list[dict[str, Any]]:
    """Ask all at once; the table grows while the answers come, where there is a terminal."""
    texts = [""] * len(variants)
    found: list[dict[str, Any]] = [{"variant": each.name, "text": "", "failure": ""} for each in variants]
    with Live(console=stdout, refresh_per_second=8, transient=False) if _live() else _Quiet() as live:

        def more(number: int, text: str) -> None:
            texts[number] += text
            live.update(_side_by_side(variants, texts, found))

        async def one(number: int, variant: Variant) -> None:
            try:
                answer = await tests.ask(variant, question, watch=lambda text: more(number, text))
            except TidemillError as error:
                found[number]["failure"] = error.message
            else:
                texts[number] = "".join(part.text or part.json for each in answer.output for part in each.parts)
                found[number] |= {
                    "text": texts[number],
                    "seconds": answer.usage.total.ToNanoseconds() / 1e9,
                    "input_tokens": answer.usage.input_tokens,
                    "output_tokens": answer.usage.output_tokens,
                    "inference": answer.id,
                }
            live.update(_side_by_side(variants, texts, found))

        async with asyncio.TaskGroup() as group:
            for number, variant in enumerate(variants):
                group.create_task(one(number, variant))
    if not _live() and not options().as_json:
        stdout.print(_side_by_side(variants, texts, found))
    return found


def _live() -> bool:
    return stdout.is_terminal and not options().as_json


class _Quiet:
    """Stands for a live table where there is no terminal."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing was begun."""

    def update(self, renderable: Table) -> None:
        """Show nothing."""


def _side_by_side(variants: list[Variant], texts: list[str], found: list[dict[str, Any]]) -> Table:
    rows = [
        (variant.name, (each["failure"] and f"failed: {each['failure']}") or text, _spent(each))
        for variant, text, each in zip(variants, texts, found, strict=True)
    ]
    return table(("variant", "answer", "took"), rows)


def _spent(answer: Mapping[str, Any]) -> str:
    if "seconds" not in answer:
        return ""
    return f"{answer['seconds']:.1f} s, {answer['input_tokens']} + {answer['output_tokens']} tokens"


def _variables(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput.at(field="variables", text=f"is not JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise InvalidInput.at(field="variables", text='must be a JSON object, such as {"tone": "friendly"}')
    return values
