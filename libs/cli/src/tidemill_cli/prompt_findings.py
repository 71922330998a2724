"""What came of a search for a better prompt: its front, the comparison on held-out cases, and which one is better."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.prompt_test_pb2 import PromptTest
from tidemill_cli.output import plain, table
from tidemill_cli.prompt_figures import picture
from tidemill_cli.prompt_search import Candidate, counted, front_of

CURRENT = "current"
MIN_PAIRS = 5
"""Of held-out cases, for a prompt to win."""


@dataclass(kw_only=True)
class Optimising:
    """The search so far, and how it ended."""

    current: Candidate
    measured: list[Candidate] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    cases: Sequence[str] = ()
    """Texts of the suite's cases, which no prompt may have in it."""
    tokens: int = 0
    failures: int = 0
    """Of the present prompt on seen cases: what fails more is not in the front."""
    ended: str = ""
    comparison: PromptTest | None = None
    """Of the front with the present prompt, on held-out cases."""
    created: int = 0
    """The number of the version that the best one became."""

    @property
    def front(self) -> list[Candidate]:
        """The prompts that no other one beats on seen cases."""
        return front_of([self.current, *self.measured])


def winner(found: Optimising, metric: str, *, uncertain: bool) -> Candidate | None:
    """Return the prompt with the highest gain on held-out cases of those whose interval is above 0.

    The intervals hold for all finalists together, so that the best of several is not better by luck. Where uncertain
    ones may win, those that are shown to be better come first.

    One with which more cases fail than with the present prompt does not win, since failed ones are in no pair by many
    metrics. Nor does one of few pairs.
    """
    if found.comparison is None:
        return None
    by_name = {each.name: each for each in found.measured}
    failures = found.comparison.figures[0].failures
    gains = list[tuple[bool, float, str]]()
    for variant, figures in zip(found.comparison.variants, found.comparison.figures, strict=True):
        if variant.name not in by_name or figures.failures > failures:
            continue
        for each in figures.measures:
            if each.metric == metric and each.pairs >= MIN_PAIRS and each.HasField("difference_low"):
                sign = -1 if each.less_is_better else 1
                low = -each.difference_high if each.less_is_better else each.difference_low
                gains.append((low > 0, sign * each.difference, variant.name))
    shown = [each for each in gains if each[0] or (uncertain and each[1] > 0)]
    return by_name[max(shown)[-1]] if shown else None


def search_data(found: Optimising) -> dict[str, Any]:
    """Return a search for programs."""

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


def search_report(found: Optimising, prompt: str, metric: str, *, uncertain: bool) -> RenderableType:
    """Return a search for people."""
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
