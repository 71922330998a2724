"""Use cases: pin a judge for a training, and have it score one answer. Nothing of either is stored."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from uuid import uuid4

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import JUDGE_UNAVAILABLE, NoVerdict
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.domain.judge import JudgeInput, JudgeMode
from tidemill_evaluator.judges.pin_judges import PinJudges, refuse_disagreeing
from tidemill_evaluator.judges.ports import PinnedJudge

_SHARE_OF_TIME = 0.95
"""Of the time that a caller waits: an answer in the rest of it says that the judge was late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """A judge that rewards decides what a model becomes, so it needs what one needs that decides in a gate."""

    pins: PinJudges
    ask: AskJudge
    max_characters: int

    async def pin(self, caller: Caller, judge_id: str, *, models: Collection[str]) -> PinnedJudge:
        """Return the judge that is to score answers of these models, in the version that it is now.

        Raises:
            NoVerdict: there is none, it compares two answers, reads passages or judges itself, or agrees too little
                with people.
            DependencyUnavailable: inference is unavailable.

        """
        (pinned,) = await self.pins(caller, [judge_id], answering=models)
        for each in (pinned, *pinned.judging):
            if each.judge.mode is JudgeMode.PAIRWISE or JudgeInput.PASSAGES in each.judge.reads:
                needs = "another answer" if each.judge.mode is JudgeMode.PAIRWISE else "passages"
                message = (
                    f"judge {each.judge.id} needs {needs} beside the answer, and there is none: name another judge"
                )
                raise NoVerdict(JUDGE_UNAVAILABLE, message)
        refuse_disagreeing(pinned)
        return pinned

    async def score(
        self, caller: Caller, judge_id: str, *, version: str, material: Material, within_s: float | None = None
    ) -> float | None:
        """Return the score, 0 to 1; None where the judge has not judged within this time. Each call asks anew.

        Raises:
            InvalidInput: there is no question, or the texts are too long.
            NoVerdict: it is another version by now, or gone, or agrees too little with people.
            DependencyUnavailable, RateLimited: inference, or a model that judges, is unavailable or overloaded.

        """
        self._refuse_texts(material)
        (pinned,) = await self.pins.unchanged(caller, {judge_id: version})
        refuse_disagreeing(pinned)
        until = asyncio.timeout(None if within_s is None else _SHARE_OF_TIME * within_s)
        try:
            async with until:
                return await self.ask.points(caller, pinned, material, name=str(uuid4()))
        except TimeoutError:
            if not until.expired():
                raise
            return None

    def _refuse_texts(self, material: Material) -> None:
        if not material.question.strip():
            raise InvalidInput.at(field="question", text="is empty: send what was asked")
        texts = (material.question, material.answer, material.reference, *(text for _, text in material.earlier))
        if (characters := sum(map(len, texts))) > self.max_characters:
            text = (
                f"is one of texts with {characters} characters; the limit is {self.max_characters} "
                "(EVALUATOR_MAX_SCORED_CHARACTERS)"
            )
            raise InvalidInput.at(field="answer", text=text)
