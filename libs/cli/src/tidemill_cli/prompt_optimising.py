"""prompts optimise: a model proposes prompts, each is measured on seen cases, and the best are compared on others."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.prompt_test_pb2 import PromptResult, PromptTest
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill_cli.output import EXIT_DIFFERENT, call, plain, progress, show, table
from tidemill_cli.prompt_figures import picture
from tidemill_cli.prompt_proposals import ProposePrompts
from tidemill_cli.prompt_search import (
    REFUSED,
    Candidate,
    counted,
    flaw_of,
    front_of,
    required_of,
    values_of,
)
from tidemill_client.connection import Connection
from tidemill_client.declared import Deployments, Gates, Prompts, Suites
from tidemill_client.prompt_tests import PromptTests, Unsaved, Variant
from tidemill_core.errors import InvalidInput, PreconditionFailed

MIN_CASES = 20
MAX_FINALISTS = 5
CURRENT = "current"
_EVERY_ROUND = 4
"""Proposals."""


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


@dataclass(kw_only=True)
class Optimising:
    """The search so far, and how it ended."""

    current: Candidate
    measured: list[Candidate] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    ended: str = ""
    comparison: PromptTest | None = None
    """Of the front with the present prompt, on held-out cases."""
    created: int = 0
    """The number of the version that the best one became."""

    @property
    def front(self) -> list[Candidate]:
        """The prompts that no other one beats on seen cases."""
        return front_of([self.current, *self.measured])


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisePrompt:
    """Seen and held-out cases are halves of the suite, by the sha256 of their ids."""

    connection: Connection
    options: OptimiseOptions

    async def __call__(self, name: str) -> Optimising:
        """Return the search with the comparison on held-out cases.

        Raises:
            NothingToOptimise: the suite has too few cases, or a gate uses it.
            InvalidInput: the deployment does not answer by the prompt.

        """
        prompt, deployment = await Prompts(self.connection).get(name), await self._deployment(name)
        seen, held_out = await self._halves()
        content = prompt.content
        text = Unsaved(user=content.user, system=content.system, variables_schema=content.variables_schema)
        found = Optimising(current=Candidate(text=text, name=CURRENT))
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
                found.comparison = await self._tested(found, deployment, [found.current, *finalists], held_out)
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
        (found.current,) = self._valued([found.current], test)
        while not (ended := self._ended(found, began, fruitless)):
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
            found.measured += self._valued(asked, test)[1:]
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
            flaw = flaw_of(proposal, found.current.text, required=required, known=known)
            if not flaw and not await self._is_template(prompt, proposal):
                flaw = REFUSED
            if flaw:
                found.dropped[flaw] += 1
            else:
                fresh.append(Candidate(text=proposal, name=f"p{len(found.measured) + len(fresh) + 1}"))
        return fresh

    async def _is_template(self, prompt: Prompt, text: Unsaved) -> bool:
        try:
            await Prompts(self.connection).update(_with(prompt, text), "content", validate_only=True)
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
        test = await tests.wait(started.id, within_s=self.options.within_s)
        if test.state != EvaluationState.EVALUATION_STATE_COMPLETED:
            message = f"prompt test {test.id} ended without figures: {test.reason} {test.message}"
            raise NothingToOptimise(message)
        for figures in test.figures:
            spent = [each for each in figures.measures if each.metric in {"input_tokens", "output_tokens"}]
            found.tokens += round(sum(each.mean * each.observations for each in spent))
        return test

    def _valued(self, candidates: Sequence[Candidate], test: PromptTest) -> list[Candidate]:
        return [
            replace(each, values=values_of(figures, self.options.metrics))
            for each, figures in zip(candidates, test.figures, strict=True)
        ]

    async def _worst(self, test: PromptTest, best: Candidate) -> tuple[list[PromptResult], int]:
        """Return the cases with the lowest values, and the place of the best prompt among the answers, or the first."""
        names = [each.name for each in test.variants]
        place, results = (names.index(best.name) if best.name in names else 0), list[PromptResult]()
        async for each in PromptTests(self.connection).results(test.id, metric=self.options.metrics[0]):
            results.append(each)
        metric = self.options.metrics[0]
        measures = [each for figures in test.figures for each in figures.measures if each.metric == metric]
        sign = -1 if any(each.less_is_better for each in measures) else 1
        results.sort(key=lambda each: sign * each.answers[place].scores.get(metric, 0.0))
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

    async def _halves(self) -> tuple[list[str], list[str]]:
        """Return the ids of seen and of held-out cases.

        Raises:
            NothingToOptimise: the suite has too few, or a gate uses it.

        """
        suite, options = await Suites(self.connection).get(self.options.suite), self.options
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
        ids = sorted((case.id for case in suite.cases), key=lambda each: hashlib.sha256(each.encode()).digest())
        if len(ids) < MIN_CASES:
            message = f"suite {suite.id} has {len(ids)} cases: {MIN_CASES} are needed to see some and hold others out"
            raise NothingToOptimise(message)
        place = len(ids) - max(round(len(ids) * options.held_out), 1)
        return ids[:place][: options.sample], ids[place:][: 2 * options.sample]


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
    sample: Annotated[int, typer.Option("--sample", min=5, max=500, help="So many seen cases for each prompt.")] = 40,
    tokens: Annotated[int, typer.Option("--tokens", min=1000, help="The search ends after so many.")] = 1_000_000,
    minutes: Annotated[float, typer.Option("--minutes", min=1, help="And after so long.")] = 60,
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
    show(_data(found), _report(found, prompt, metric, uncertain=accept_uncertain))
    if create and not found.created:
        raise typer.Exit(EXIT_DIFFERENT)


def winner(found: Optimising, metric: str, *, uncertain: bool) -> Candidate | None:
    """Return the prompt with the highest gain on held-out cases, if it is shown to be one: its interval is above 0.

    The intervals hold for all finalists together, so that the best of several is not better by luck.
    """
    if found.comparison is None:
        return None
    by_name = {each.name: each for each in found.measured}
    gains = list[tuple[float, float, str]]()
    for variant, figures in zip(found.comparison.variants, found.comparison.figures, strict=True):
        for each in figures.measures:
            if each.metric == metric and variant.name in by_name and each.HasField("difference_low"):
                sign = -1 if each.less_is_better else 1
                low = -each.difference_high if each.less_is_better else each.difference_low
                gains.append((sign * each.difference, low, variant.name))
    if not gains:
        return None
    gain, low, name = max(gains)
    return by_name[name] if low > 0 or (uncertain and gain > 0) else None


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


def _data(found: Optimising) -> dict[str, Any]:
    def of(each: Candidate) -> dict[str, Any]:
        return {"name": each.name, "system": each.text.system, "user": each.text.user, "values": dict(each.values)}

    return {
        "front": [of(each) for each in found.front],
        "candidates": [of(each) for each in [found.current, *found.measured]],
        "dropped": dict(found.dropped),
        "tokens": found.tokens,
        "ended": found.ended,
        "comparison": plain(found.comparison) if found.comparison else None,
        "created": found.created,
    }


def _report(found: Optimising, prompt: str, metric: str, *, uncertain: bool) -> RenderableType:
    front = {each.name for each in found.front}
    rows = [
        (each.name, *(f"{abs(value):.4g}" for value in each.values.values()), "front" if each.name in front else "")
        for each in [found.current, *found.measured]
    ]
    columns = ("prompt", *found.current.values, "")
    dropped = f"; dropped: {counted(found.dropped)}" if found.dropped else ""
    parts: list[RenderableType] = [
        table(columns, rows, title="On seen cases"),
        escape(f"{found.tokens} tokens; {found.ended}{dropped}"),
        "",
    ]
    if found.comparison is not None:
        parts += ["On held-out cases", picture(found.comparison), ""]
    best = winner(found, metric, uncertain=uncertain)
    if best is None:
        return Group(*parts, escape(f"No prompt is shown to be better than the present one of {prompt}."))
    text = "\n\n".join(filter(None, (best.text.system, best.text.user)))
    said = f"{best.name} is {'' if not uncertain else 'taken to be '}better"
    saved = f", and is {prompt}@{found.created} now." if found.created else "; --create saves it."
    return Group(*parts, escape(said + saved), "", escape(text))
