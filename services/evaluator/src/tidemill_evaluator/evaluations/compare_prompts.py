"""Checks that two versions of a prompt can be compared, and that the candidate is still the one to compare."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import CANDIDATE_UNAVAILABLE, PROMPT_UNAVAILABLE, SUPERSEDED, VARIABLES_DIFFER, NoVerdict
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import UNFINISHED
from tidemill_evaluator.evaluations.ports import Evaluations, Live, Prompts, PromptVersions
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.names import name_of, number_of


def refuse_other_prompt(evaluation: Evaluation, live: Live) -> None:
    """Check that the deployment answers by another version of the candidate's prompt.

    Raises:
        NoVerdict: it answers by another prompt, or by the candidate.

    """
    comparing = evaluation.comparing
    if not comparing.prompt:
        return
    if name_of(live.prompt) != comparing.prompt:
        message = f"deployment {comparing.deployment} answers by prompt {live.prompt}, and not by {comparing.prompt}"
        raise NoVerdict(PROMPT_UNAVAILABLE, message)
    if live.prompt == comparing.candidate:
        message = f"prompt {live.prompt} answers already: there is nothing to compare it with"
        raise NoVerdict(CANDIDATE_UNAVAILABLE, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePrompts:
    """Before the cases are asked, and after."""

    prompts: Prompts
    evaluations: Evaluations

    async def check(self, caller: Caller, evaluation: Evaluation, cases: Iterable[Case]) -> None:
        """Check that both versions can answer the cases; of a candidate that is no prompt nothing.

        Raises:
            NoVerdict: the candidate is gone or superseded, or its variables are not those that the cases have.

        """
        if not evaluation.comparing.prompt:
            return
        versions = await self._current(caller, evaluation)
        number, baseline = number_of(evaluation.candidate), number_of(evaluation.baseline_prompt)
        if _schema(versions, number) == _schema(versions, baseline):
            return
        if count := sum(bool(case.context.variables) for case in cases):
            message = (
                f"prompt {evaluation.candidate} takes other variables than {evaluation.baseline_prompt}, and {count} "
                "cases have variables: leave them out, or keep the schema"
            )
            raise NoVerdict(VARIABLES_DIFFER, message)

    async def check_newest(self, caller: Caller, evaluation: Evaluation) -> None:
        """Check that the candidate is there, and that no newer version came where the newest one is compared.

        A newer one that this gate has refused supersedes none.

        Raises:
            NoVerdict: the candidate is gone or superseded.

        """
        if evaluation.comparing.prompt:
            await self._current(caller, evaluation)

    async def _current(self, caller: Caller, evaluation: Evaluation) -> PromptVersions:
        prompt, number = evaluation.comparing.prompt, number_of(evaluation.candidate)
        try:
            versions = await self.prompts.prompt(caller, prompt)
        except NotFound as error:
            message = f"prompt {prompt} does not exist: it was deleted, or is not shared"
            raise NoVerdict(CANDIDATE_UNAVAILABLE, message) from error
        if number not in versions.variables:
            message = f"prompt {prompt} has no version {number}; its newest is {versions.latest}"
            raise NoVerdict(CANDIDATE_UNAVAILABLE, message)
        if evaluation.of_newest_prompt and versions.latest > number and not await self._refused(evaluation, versions):
            message = f"prompt {prompt}@{versions.latest} is newer, and is compared in its place"
            raise NoVerdict(SUPERSEDED, message)
        return versions

    async def _refused(self, evaluation: Evaluation, versions: PromptVersions) -> bool:
        """Return whether the newest version was compared by this gate, and did not pass; re-evaluations say neither."""
        newest = f"{evaluation.comparing.prompt}@{versions.latest}"
        where = {"gate": evaluation.gate, "candidate": newest}
        found = list_all(self.evaluations, evaluation.project, where=where)
        theirs = [each async for each in found if not each.comparing.reevaluates]
        last = max(theirs, key=lambda each: each.attempt, default=None)
        return last is not None and last.state not in UNFINISHED and last.verdict is not Verdict.PASSED


def _schema(versions: PromptVersions, number: int) -> object:
    """Return the schema of a version's variables, however it is written."""
    return json.loads(versions.variables.get(number, "").strip() or "null")
