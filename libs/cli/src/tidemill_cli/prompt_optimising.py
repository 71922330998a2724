"""prompts optimise: a model proposes prompts, each is measured on seen cases, and the best are compared on others."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any

import typer

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.prompt_test_pb2 import PromptResult, PromptTest
from tidemill.evaluator.v1.suite_pb2 import Suite
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill_cli.output import EXIT_DIFFERENT, call, progress, show
from tidemill_cli.prompt_findings import CURRENT, Optimising, search_data, search_report, winner
from tidemill_cli.prompt_proposals import ProposePrompts
from tidemill_cli.prompt_search import (
    REFUSED,
    Candidate,
    flaw_of,
    halves_of,
    required_of,
    said_in,
    values_of,
)
from tidemill_client.connection import Connection
from tidemill_client.declared import Deployments, Gates, Prompts, Suites
from tidemill_client.prompt_tests import PromptTests, Unsaved, Variant
from tidemill_core.errors import DeadlineExceeded, InvalidInput, PreconditionFailed, TidemillError

MIN_CASES = 20
MAX_FINALISTS = 5
_EVERY_ROUND = 4
"""Proposals."""
_CELLS = 2000
"""Answers of a prompt test, as the evaluator takes by default."""
MAX_SAMPLE, MAX_HELD_OUT = _CELLS // (1 + _EVERY_ROUND), _CELLS // (1 + MAX_FINALISTS)


class NothingToOptimise(PreconditionFailed):
    """What the search needs is missing; the message says what to do."""

    reason = "NOTHING_TO_OPTIMISE"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiseOptions:
    """What is searched for, and how much that may take."""

    suite: str
    by: str
    deployment: str = ""
    metrics: Sequence[str] = ("rouge_l",)
    """The first decides; what no other prompt beats in all of them is in the front."""
    candidates: int = 12
    sample: int = 40
    held_out: float = 0.5
    tokens: int = 1_000_000
    within_s: float = 3600.0
    accept: bool = False
    """Though a gate uses the suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisePrompt:
    """Seen and held-out cases are halves of the suite, by the sha256 of their questions.

    Once the present prompt is measured, an error ends the search, and what was measured is shown.
    """

    connection: Connection
    options: OptimiseOptions

    async def __call__(self, name: str) -> Optimising:
        """Return the search with the comparison on held-out cases.

        Raises:
            NothingToOptimise: the suite has too few cases, or a gate uses it.
            InvalidInput: the deployment does not answer by the prompt.

        """
        prompt, deployment = await Prompts(self.connection).get(name), await self._deployment(name)
        suite = await Suites(self.connection).get(self.options.suite)
        seen, held_out = await self._halves(suite)
        content = prompt.content
        text = Unsaved(user=content.user, system=content.system, variables_schema=content.variables_schema)
        texts = [each for case in suite.cases for each in (case.question, case.reference)]
        found = Optimising(current=Candidate(text=text, name=CURRENT), cases=said_in(texts))
        with progress() as bar:
            task = bar.add_task("measuring the present prompt", total=self.options.candidates)
            await self._search(
                found,
                prompt,
                deployment,
                seen,
                report=lambda text: bar.update(task, description=text, completed=len(found.measured)),
            )
            if finalists := [each for each in found.front if each.name != CURRENT][:MAX_FINALISTS]:
                bar.update(task, description="comparing the front on held-out cases", completed=0, total=None)
                try:
                    found.comparison = await self._tested(found, deployment, [found.current, *finalists], held_out)
                except TidemillError as error:
                    found.ended += f"; not compared on held-out cases: {error.message}"
        return found

    async def _search(
        self,
        found: Optimising,
        prompt: Prompt,
        deployment: str,
        seen: Sequence[str],
        *,
        report: Any,  # noqa: ANN401
    ) -> None:
        propose = ProposePrompts(connection=self.connection, deployment=self.options.by)
        required = required_of(found.current.text, _declared(found.current.text))
        began, fruitless = time.monotonic(), 0
        test = await self._tested(found, deployment, [found.current], seen)
        found.failures = test.figures[0].failures
        (found.current,) = self._valued(found, [found.current], test)
        if not found.current.values:
            metrics = ", ".join(self.options.metrics)
            message = f"the present prompt has no value of {metrics} on suite {self.options.suite}: name other metrics"
            raise NothingToOptimise(message)
        while not (ended := self._ended(found, began, fruitless)):
            try:
                best = found.front[0]
                worst, place = await self._worst(test, best)
                count = min(_EVERY_ROUND, self.options.candidates - len(found.measured))
                report(f"{self.options.by} proposes {count} prompts")
                proposed = await propose(found.front, worst, place=place, required=required, count=count)
                found.tokens += proposed.tokens
                fresh = await self._checked(found, prompt, proposed.texts, required)
                fruitless = 0 if fresh else fruitless + 1
                if not fresh:
                    continue
                report(f"measuring {len(fresh)} prompts")
                asked = [best, *fresh]
                test = await self._tested(found, deployment, asked, seen)
            except TidemillError as error:
                ended = error.message
                break
            found.measured += self._valued(found, asked, test)[1:]
        found.ended = ended

    def _ended(self, found: Optimising, began: float, fruitless: int) -> str:
        """Return why the search ends now; "" where it goes on."""
        options = self.options
        if len(found.measured) >= options.candidates:
            return f"{options.candidates} prompts were measured"
        if found.tokens >= options.tokens:
            return f"{found.tokens} tokens were used"
        if time.monotonic() - began >= options.within_s:
            return f"{options.within_s / 60:g} minutes are over"
        return f"{options.by} proposed nothing new three times" if fruitless > 2 else ""  # noqa: PLR2004

    async def _checked(
        self, found: Optimising, prompt: Prompt, texts: Sequence[Unsaved], required: frozenset[str]
    ) -> list[Candidate]:
        """Return the proposals that are prompts; the others are counted with why."""
        fresh = list[Candidate]()
        for text in texts:
            proposal = replace(text, variables_schema=found.current.text.variables_schema)
            known = [each.text for each in (found.current, *found.measured, *fresh)]
            flaw = flaw_of(proposal, found.current.text, required=required, known=known, cases=found.cases)
            if not flaw and not await self._is_template(prompt, proposal):
                flaw = REFUSED
            if flaw:
                found.dropped[flaw] += 1
            else:
                fresh.append(Candidate(text=proposal, name=f"p{len(found.measured) + len(fresh) + 1}"))
        return fresh

    async def _is_template(self, prompt: Prompt, text: Unsaved) -> bool:
        try:
            asked = _with(prompt, text)
            asked.etag = ""  # whatever else of it is changed meanwhile
            await Prompts(self.connection).update(asked, "content", validate_only=True)
        except InvalidInput:
            return False
        return True

    async def _tested(
        self, found: Optimising, deployment: str, candidates: Sequence[Candidate], cases: Sequence[str]
    ) -> PromptTest:
        tests = PromptTests(self.connection)
        variants = [Variant(name=each.name, deployment=deployment, unsaved=each.text) for each in candidates]
        started = await tests.start(
            variants,
            suite=self.options.suite,
            cases=cases,
            metrics=[m for m in self.options.metrics if m != "input_tokens"],
        )
        try:
            test = await tests.wait(started.id, within_s=self.options.within_s)
        except DeadlineExceeded:
            await tests.cancel(started.id)
            raise
        if test.state != EvaluationState.EVALUATION_STATE_COMPLETED:
            message = f"prompt test {test.id} ended without figures: {test.reason} {test.message}"
            raise NothingToOptimise(message)
        for figures in test.figures:
            spent = [each for each in figures.measures if each.metric in {"input_tokens", "output_tokens"}]
            found.tokens += round(sum(each.mean * figures.answered for each in spent))
        return test

    def _valued(self, found: Optimising, candidates: Sequence[Candidate], test: PromptTest) -> list[Candidate]:
        """Return them with their values; those that fail on more cases than the present prompt have none."""
        return [
            replace(each, values=values_of(figures, self.options.metrics) if figures.failures <= found.failures else {})
            for each, figures in zip(candidates, test.figures, strict=True)
        ]

    async def _worst(self, test: PromptTest, best: Candidate) -> tuple[list[PromptResult], int]:
        """Return the cases with the lowest values, and the place of the best prompt among the answers, or the first."""
        names = [each.name for each in test.variants]
        place, results = (names.index(best.name) if best.name in names else 0), list[PromptResult]()
        async for each in PromptTests(self.connection).results(test.id, metric=self.options.metrics[0]):
            if not each.restricted:
                results.append(each)
        metric = self.options.metrics[0]
        measures = [each for figures in test.figures for each in figures.measures if each.metric == metric]
        sign = -1 if any(each.less_is_better for each in measures) else 1
        results.sort(key=lambda each: sign * each.answers[place].scores.get(metric, -sign * inf))
        return results, place

    async def _deployment(self, name: str) -> str:
        deployments = Deployments(self.connection)
        if self.options.deployment:
            return (await deployments.get(self.options.deployment)).id
        users = [each.id async for each in deployments.all() if each.live.prompt.partition("@")[0] == name]
        if len(users) != 1:
            text = f"is required: prompt {name} is used by {', '.join(users) or 'no deployment'}"
            raise InvalidInput.at(field="deployment", text=text)
        return users[0]

    async def _halves(self, suite: Suite) -> tuple[list[str], list[str]]:
        """Return the ids of seen and of held-out cases.

        Raises:
            NothingToOptimise: the suite has too few, or a gate uses it.

        """
        options = self.options
        gates = [
            each.id
            async for each in Gates(self.connection).all()
            if suite.id in {each.retrieval.suite, *(required.suite for required in each.require)}
        ]
        if gates and not options.accept:
            message = (
                f"suite {suite.id} is required by {', '.join(gates)}: a prompt that is fitted to a gate's cases passes "
                "it without being better; use another suite, or --accept"
            )
            raise NothingToOptimise(message)
        seen, held_out = halves_of(suite.cases, options.held_out)
        if len(suite.cases) < MIN_CASES or not held_out:
            message = (
                f"suite {suite.id} has {len(suite.cases)} cases: {MIN_CASES} are needed to see some and hold others "
                "out, not all of one question or pair"
            )
            raise NothingToOptimise(message)
        return seen[: min(options.sample, MAX_SAMPLE)], held_out[: min(2 * options.sample, MAX_HELD_OUT)]


def optimise(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    *,
    suite: Annotated[str, typer.Option("--suite", "-s", help="Cases that no gate uses, 20 or more.")],
    by: Annotated[str, typer.Option("--by", help="The deployment whose model proposes; its prompt is the question.")],
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", help="What answers; default: the only one with the prompt.")
    ] = "",
    metric: Annotated[str, typer.Option("--metric", help="What is to be better.")] = "rouge_l",
    also: Annotated[
        list[str] | None, typer.Option("--and", help="A further metric, as output_tokens. Repeatable.")
    ] = None,
    candidates: Annotated[int, typer.Option("--candidates", min=1, max=100, help="So many prompts are measured.")] = 12,
    sample: Annotated[int, typer.Option("--sample", min=5, max=MAX_SAMPLE, help="Seen cases for each prompt.")] = 40,
    tokens: Annotated[int, typer.Option("--tokens", min=1000, help="The search ends after so many.")] = 1_000_000,
    minutes: Annotated[float, typer.Option("--minutes", min=1, help="And after so long, each test.")] = 60,
    accept: Annotated[bool, typer.Option("--accept", help="Though a gate uses the suite.")] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Save what is shown to be better as the next version.")
    ] = False,
    accept_uncertain: Annotated[
        bool, typer.Option("--accept-uncertain", help="With --create: though the interval has 0 in it.")
    ] = False,
) -> None:
    """Have a model propose better prompts, measure each, and compare the best with the present one on held-out cases.

    The texts of cases go to the deployments named by --by and --deployment alone. Exit 2 if --create was given and no
    prompt is shown to be better.
    """
    options = OptimiseOptions(
        suite=suite,
        by=by,
        deployment=deployment,
        metrics=tuple(dict.fromkeys([metric, *(also or ())])),
        candidates=candidates,
        sample=sample,
        tokens=tokens,
        within_s=60 * minutes,
        accept=accept,
    )

    async def work(connection: Connection) -> Optimising:
        found = await OptimisePrompt(connection=connection, options=options)(prompt)
        best = winner(found, metric, uncertain=accept_uncertain)
        if create and best is not None:
            found.created = await _saved(connection, prompt, found.current.text, best.text)
        return found

    found = call(work)
    show(search_data(found), search_report(found, prompt, metric, uncertain=accept_uncertain))
    if create and not found.created:
        raise typer.Exit(EXIT_DIFFERENT)


async def _saved(connection: Connection, name: str, current: Unsaved, best: Unsaved) -> int:
    """Save the next version of a prompt, and return its number.

    Raises:
        NothingToOptimise: it is not as it was when the search began.

    """
    prompts = Prompts(connection)
    stored = await prompts.get(name)
    if (stored.content.user, stored.content.system) != (current.user, current.system):
        message = f"prompt {name} was changed while others were measured against it: start again"
        raise NothingToOptimise(message)
    return (await prompts.update(_with(stored, best), "content")).latest_version


def _with(prompt: Prompt, text: Unsaved) -> Prompt:
    content = PromptContent(system=text.system, user=text.user, variables_schema=text.variables_schema)
    return Prompt(id=prompt.id, etag=prompt.etag, content=content)


def _declared(text: Unsaved) -> list[str]:
    try:
        return list(json.loads(text.variables_schema or "{}").get("properties", {}))
    except (ValueError, AttributeError):
        return []
